"""What every method must do, as a check that third parties run on their own class.

Examples:
    >>> from gazeseg.methods.full import Full
    >>> check_method(Full)
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor

from gazeseg.config import NetworkConfig, Section
from gazeseg.errors import ConfigError
from gazeseg.methods.base import Method, Reference, Spec, StepOutput
from gazeseg.types import IGNORE, Batch

NETWORK = NetworkConfig(name="small_unet", features=(4, 8, 8))  # the contract is about the method, not the network
LEVELS = 2
FIELDS = frozenset(field.name for field in dataclasses.fields(Batch)) - {"ids", "image", "labelled_first"}


class ContractError(AssertionError):
    """A method breaks the protocol; the message says which rule."""


def check_method(kind: type[Method], config: BaseModel | None = None) -> None:
    """Check a method against the protocol on small random batches; a few seconds on one core.

    Args:
        kind: The method.
        config: Its configuration; by default all defaults.

    Raises:
        ContractError: naming the first rule that is broken.
    """
    _check_description(kind)
    config = kind.Config() if config is None else config
    tried = 0
    for in_channels, num_classes in ((3, 2), (1, 2), (1, 3)):
        try:
            method = _make(kind, config, in_channels, num_classes)
        except ConfigError:
            _require(num_classes > 2, f"{kind.__name__} refuses two classes and {in_channels} channels")
            continue
        tried += 1
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub wants a device before it
        batch = make_batch(kind.needs, in_channels=in_channels, num_classes=num_classes)
        _check_initial_weights(kind, config, method, in_channels, num_classes)
        _check_training(method, batch)
        _check_ignore(method, batch)
        _check_prediction(method, batch.image, num_classes)
    _require(tried > 0, f"{kind.__name__} accepts none of the tested tasks")


def make_batch(
    needs: frozenset[str],
    *,
    in_channels: int,
    num_classes: int,
    size: tuple[int, int] = (37, 50),
    batch_size: int = 2,
    levels: int = LEVELS,
    seed: int = 0,
) -> Batch:
    """Return a random batch with the needed fields and no other."""
    random = torch.Generator().manual_seed(seed)
    tokens, fixations = 3, 5

    def classes(*shape: int) -> Tensor:
        labels = torch.randint(0, num_classes, shape, generator=random)
        return labels.masked_fill(torch.rand(shape, generator=random) < 0.1, IGNORE)

    makers: dict[str, Callable[[], Tensor]] = {
        "labelled": lambda: torch.arange(batch_size) < (batch_size + 1) // 2,
        "mask": lambda: torch.randint(0, num_classes, (batch_size, *size), generator=random),
        "weak": lambda: classes(batch_size, *size),
        "pseudo": lambda: classes(batch_size, levels, *size),
        "gaze_map": lambda: torch.rand(batch_size, 1, *size, generator=random),
        "track": lambda: torch.rand(batch_size, fixations, 4, generator=random) * min(size),
        "track_length": lambda: torch.full((batch_size,), fixations),
        "text": lambda: torch.randn(batch_size, tokens, 384, generator=random),
        "text_length": lambda: torch.full((batch_size,), tokens),
        "text_fields": lambda: torch.randint(0, 6, (batch_size, tokens), generator=random),
    }
    image = torch.randn(batch_size, in_channels, *size, generator=random).contiguous(memory_format=torch.channels_last)
    ids = tuple(f"case {index}" for index in range(batch_size))
    fields: dict[str, Any] = {name: makers[name]() for name in sorted(needs)}
    return Batch(ids, image, **fields)


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise ContractError(rule)


def _make(kind: type[Method], config: BaseModel, in_channels: int, num_classes: int, seed: int = 0) -> Method:
    return kind(config, Spec(NETWORK, in_channels, num_classes, LEVELS, seed))


def _check_description(kind: type[Method]) -> None:
    _require(isinstance(kind, type) and issubclass(kind, Method), f"{kind!r} is no subclass of Method")
    for attribute in ("name", "summary"):
        value = getattr(kind, attribute, "")
        _require(isinstance(value, str) and value != "", f"{kind.__name__}.{attribute} must be a text")
    _require(kind.name.isidentifier(), f"the name '{kind.name}' must be usable as --method NAME: letters, digits, _")
    needs = getattr(kind, "needs", None)
    _require(isinstance(needs, frozenset), f"{kind.__name__}.needs must be a frozenset of Batch fields")
    unknown = sorted(kind.needs - FIELDS)
    _require(not unknown, f"{kind.__name__}.needs names {unknown}, which are no fields of Batch: {sorted(FIELDS)}")
    reference = getattr(kind, "reference", None)
    _require(isinstance(reference, Reference), f"{kind.__name__}.reference must be a Reference")
    _require(issubclass(kind.Config, Section), f"{kind.__name__}.Config must derive from Section, which is strict")
    _require("name" not in kind.Config.model_fields, f"{kind.__name__}.Config must not have a key 'name'")


def _check_initial_weights(
    kind: type[Method], config: BaseModel, method: Method, in_channels: int, num_classes: int
) -> None:
    before = torch.get_rng_state()
    torch.rand(3)
    moved = torch.get_rng_state()
    again = _make(kind, config, in_channels, num_classes)
    untouched = torch.equal(torch.get_rng_state(), moved)
    torch.set_rng_state(before)
    _require(untouched, "building a method must leave torch's global random state alone; use build_network's seed")
    same = all(torch.equal(a, b) for a, b in zip(method.parameters(), again.parameters(), strict=True))
    _require(same, "the initial weights must depend on the seed alone")
    other = _make(kind, config, in_channels, num_classes, seed=1)
    differs = any(not torch.equal(a, b) for a, b in zip(method.parameters(), other.parameters(), strict=True))
    _require(differs, "another seed must give other initial weights")


def _check_training(method: Method, batch: Batch) -> None:
    method.train()
    kept = copy.deepcopy(batch)
    out = method.training_step(batch, 0)
    _require(isinstance(out, StepOutput) and bool(out.losses), "training_step must return a StepOutput with a loss")
    for group in (out.losses, out.logs):
        for key, value in group.items():
            _require(value.ndim == 0, f"'{key}' must be a scalar, got shape {tuple(value.shape)}")
            _require(bool(torch.isfinite(value)), f"'{key}' is {value.item()} on an ordinary batch")
    _require(not any(value.requires_grad for value in out.logs.values()), "logged values must be detached")
    _require(all(p.grad is None for p in method.parameters()), "only the trainer calls backward")
    for field in dataclasses.fields(Batch):
        now, then = getattr(batch, field.name), getattr(kept, field.name)
        same = torch.equal(now, then) if isinstance(then, Tensor) else now == then
        _require(same, f"training_step must not change batch.{field.name}")
    total = torch.stack(list(out.losses.values())).sum()
    _require(total.requires_grad, "the losses must carry a gradient")
    learnt = {name: parameter for name, parameter in method.named_parameters() if parameter.requires_grad}
    gradients = torch.autograd.grad(total, list(learnt.values()), allow_unused=True)
    for name, gradient in zip(learnt, gradients, strict=True):
        _require(gradient is not None, f"no loss reaches the parameter '{name}'")
        _require(gradient is None or bool(torch.isfinite(gradient).all()), f"the gradient of '{name}' is not finite")
    with torch.no_grad():
        method.after_step(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = method.training_step(batch, 1)
    _require(
        all(bool(torch.isfinite(v)) for v in out.losses.values()), "the losses must be finite in bfloat16 autocast"
    )
    odd = make_batch(method.needs, in_channels=batch.image.shape[1], num_classes=method.num_classes, size=(33, 41))
    method.training_step(odd, 2)


def _check_ignore(method: Method, batch: Batch) -> None:
    ignored: dict[str, Any] = {
        name: torch.full_like(getattr(batch, name), IGNORE)
        for name in ("weak", "pseudo")
        if getattr(batch, name) is not None
    }
    if ignored:
        out = method.training_step(dataclasses.replace(batch, **ignored), 0)
        finite = all(bool(torch.isfinite(value)) for value in out.losses.values())
        _require(finite, "a batch in which every pixel is ignored must give finite losses")


def _check_prediction(method: Method, images: Tensor, num_classes: int) -> None:
    method.eval()
    with torch.no_grad():
        values = method.predict(images)
        shape = (images.shape[0], num_classes, *images.shape[2:])
        _require(tuple(values.shape) == shape, f"predict must return {shape}, got {tuple(values.shape)}")
        sums = values.sum(dim=1)
        _require(
            bool((values >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-4),
            "predict must return probabilities that sum to 1 over the classes",
        )
        alone = method.predict(images[:1])
        _require(torch.allclose(alone, values[:1], atol=1e-4), "in eval mode a case must not depend on its batch")
        _require(torch.equal(method.predict(images), values), "in eval mode predict must repeat itself")
        weights = {key: value.clone() for key, value in method.state_dict().items()}
        for parameter in method.parameters():
            parameter.zero_()
        method.load_state_dict(weights)
        _require(torch.equal(method.predict(images), values), "state_dict must hold all that predict needs")
    method.train()
