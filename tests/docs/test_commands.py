"""Every command that README and docs show is one that the command line takes, with the options and keys it shows."""

import shlex

import pytest
from pages import PAGES, commands

from gazeseg.cli import make_app
from gazeseg.config import MasksConfig, RunConfig, parse_overrides

OTHER_SECTIONS = {"slurm"}  # of ablate, beside those of a run
SHOWN = [pytest.param(page, command, id=f"{page.name}: {command}"[:90]) for page in PAGES for command in commands(page)]


def test_there_are_commands_to_check():
    assert len(SHOWN) > 20


@pytest.mark.parametrize(("page", "command"), SHOWN)
def test_the_command_line_takes_it(page, command):
    tokens = shlex.split(command)[1:]
    if tokens in (["--help"], ["--version"]):
        return
    _, bound, _ = make_app().parse_args(tokens, exit_on_error=False, print_error=False)
    keys = [token for token in bound.arguments.get("keys", ()) if isinstance(token, str)]
    for section, values in (parse_overrides(keys) if keys else {}).items():
        fields = RunConfig.model_fields | MasksConfig.model_fields
        assert section in fields or section in OTHER_SECTIONS, f"{page.name}: section {section}"
        if section in fields and section != "method":
            known = fields[section].annotation.model_fields
            assert set(values) <= set(known), f"{page.name}: {sorted(set(values) - set(known))} in {section}"


def test_every_verb_stands_on_a_page():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    verbs = [name for name in make_app() if not name.startswith("-")]
    assert [verb for verb in verbs if f"`{verb}`" not in text and f"gazeseg {verb}" not in text] == []
