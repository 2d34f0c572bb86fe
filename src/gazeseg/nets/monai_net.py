"""Any two-dimensional network of MONAI that maps an image to maps of its size, as one body below our classifier.

``network.name monai:SegResNet`` with ``network.options`` as the keyword arguments of the class; ``spatial_dims``,
``in_channels`` and ``out_channels`` are given here. The network has as many outputs as there are features, and the
pointwise classifier of every network of ours stands on top, so that methods that compare features can use it. It cannot
be opened between its levels: methods that act there refuse it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from gazeseg.errors import ConfigError, suggest
from gazeseg.nets.base import SegmentationNet, UNetBody, crop, pad_to_multiple

FEATURES: Final = 32  # in front of the classifier, where network.features does not say
MULTIPLE: Final = 32  # sides are padded to it: what five poolings need
PROBE: Final = 96  # px: no multiple of 64, which a network of six poolings would need
OURS: Final = ("spatial_dims", "in_channels", "out_channels")


class _MonaiBody(UNetBody):
    """The network, with its sides padded as poolings need."""

    encoder_widths = ()
    decoder_widths = ()

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features = self.network(pad_to_multiple(images, MULTIPLE))
        if not isinstance(features, Tensor):
            raise TypeError("it gives several maps, not one")
        return crop(features, images.shape[-2:])


def monai_net(
    name: str,
    options: Mapping[str, Any],
    *,
    in_channels: int,
    num_classes: int,
    widths: tuple[int, ...] | None = None,
) -> SegmentationNet:
    """Build a network of ``monai.networks.nets``.

    Args:
        name: Its class, such as ``UNet``, ``AttentionUnet``, ``SegResNet``, ``DynUNet`` or ``SwinUNETR``.
        options: Its keyword arguments beside the dimensions and channels.
        in_channels: Channels of the image.
        num_classes: Classes including background.
        widths: One number, the features in front of the classifier; 32 by default.

    Raises:
        ConfigError: if there is no such network or option, or it does not map an image to maps of its size.
    """
    import monai.networks.nets as zoo  # seconds, which runs with a network of ours do without

    known = {key for key, value in vars(zoo).items() if inspect.isclass(value) and issubclass(value, nn.Module)}
    if name not in known:
        raise ConfigError(f"network.name 'monai:{name}': MONAI has no such network{suggest(name, known)}")
    build = getattr(zoo, name)
    accepted = inspect.signature(build).parameters
    if not {"in_channels", "out_channels"} <= accepted.keys():
        raise ConfigError(f"network.name 'monai:{name}' maps no image to maps; use a segmentation network like UNet")
    for key in options:
        if key in OURS or key not in accepted:
            free = accepted.keys() - set(OURS)
            why = "is given by the data" if key in OURS else f"is none of monai:{name}'s{suggest(key, free)}"
            raise ConfigError(f"network.options: '{key}' {why}")
    if widths is not None and len(widths) != 1:
        raise ConfigError(f"network.features of monai:{name} is one number, got {list(widths)}; see network.options")
    features = widths[0] if widths else FEATURES
    given = {"spatial_dims": 2, "in_channels": in_channels, "out_channels": features}
    try:
        body = _MonaiBody(build(**{key: value for key, value in given.items() if key in accepted}, **options)).eval()
        with torch.no_grad():
            found = body(torch.zeros(1, in_channels, PROBE, PROBE))
    # what MONAI and PyTorch raise for arguments that do not fit each other
    except (TypeError, ValueError, RuntimeError, KeyError, IndexError, AttributeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"network.options do not make a monai:{name} for images of {PROBE} x {PROBE} px ({reason})"
        ) from None
    if found.shape != (1, features, PROBE, PROBE):
        raise ConfigError(
            f"monai:{name} maps {PROBE} x {PROBE} px to {tuple(found.shape)}, not to ({features}, {PROBE}, {PROBE}); "
            "give network.options that keep the size"
        )
    return SegmentationNet(
        f"monai:{name}", body.train(), num_classes=num_classes, min_side=2 * MULTIPLE, features=features
    )
