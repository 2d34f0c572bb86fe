from importlib.metadata import EntryPoint

import pytest

from gazeseg import methods
from gazeseg.errors import ConfigError
from gazeseg.methods.contract import NETWORK
from gazeseg.methods.full import Full


class Foreign(Full):
    name = "foreign"


class Pretender(Full):
    name = "full"


TASK = {"network": NETWORK, "in_channels": 1, "levels": 1, "seed": 0}


def _entries(monkeypatch, **values):
    entries = [EntryPoint(name, value, methods.GROUP) for name, value in values.items()]
    monkeypatch.setattr(methods, "entry_points", lambda group: entries)
    for entry in entries:
        loaded = {"here:Foreign": Foreign, "here:Pretender": Pretender, "here:text": "text"}.get(entry.value)
        if loaded is not None:
            monkeypatch.setattr(EntryPoint, "load", lambda self, loaded=loaded: loaded)


def test_the_folder_is_scanned():
    assert {"full", "gaze_partial", "gaze_unet", "gazemedseg"} <= set(methods.available())
    assert all(name == method.name for name, method in methods.available().items())


def test_a_foreign_method_is_found(monkeypatch):
    _entries(monkeypatch, foreign="here:Foreign")
    assert methods.available()["foreign"] is Foreign
    assert isinstance(methods.create({"name": "foreign"}, num_classes=2, **TASK), Foreign)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module_of_ours:Thing", "cannot be imported"),
        ("here:text", "which is no Method"),
        ("here:Pretender", "name of another method"),
    ],
)
def test_a_bad_foreign_entry_is_left_out_with_a_warning(monkeypatch, capsys, value, message):
    before = methods.available()
    _entries(monkeypatch, broken=value)
    assert methods.available() == before
    assert message in capsys.readouterr().err


def test_unknown_names_and_keys_are_answered():
    with pytest.raises(ConfigError, match="unknown method 'gazemedsge'; did you mean 'gazemedseg'"):
        methods.create({"name": "gazemedsge"}, num_classes=2, **TASK)
    with pytest.raises(ConfigError, match=f"'name' is missing; known: {', '.join(methods.available())}"):
        methods.create({}, num_classes=2, **TASK)
    with pytest.raises(ConfigError, match="method: unknown key 'dice_wight'; did you mean 'dice_weight'"):
        methods.create({"name": "full", "dice_wight": 1}, num_classes=2, **TASK)
    with pytest.raises(ConfigError, match="at least one class"):
        methods.create({"name": "full"}, num_classes=1, **TASK)


def test_every_method_says_where_it_comes_from():
    known = methods.available()
    assert known["gazemedseg"].needs == {"pseudo"}
    assert known["gazemedseg"].reference.status == "paper"
    assert known["full"].reference.status == "baseline"
    assert all(method.summary and method.reference.url.startswith("https://") for method in known.values())
