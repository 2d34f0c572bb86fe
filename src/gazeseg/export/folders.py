"""Folders for people and programs: a hub folder that gazeseg loads, and a MONAI bundle that MONAI loads without us."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any, Final

import monai
import numpy as np
import torch
from monai.bundle.config_parser import ConfigParser

from gazeseg import __version__
from gazeseg.config import write_yaml
from gazeseg.data.layout import staging
from gazeseg.export.describe import describe_task, model_card
from gazeseg.export.graphs import pt2_bytes
from gazeseg.export.network import MULTIPLE, SMALLEST, Deployed, Parity, allowed_size, check_parity
from gazeseg.predict.predictor import EXPORTED, Predictor
from gazeseg.train import checkpoint as checkpoints
from gazeseg.train.runfolder import RunFolder

BUNDLE_SCHEMA: Final = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)


def export_hub(predictor: Predictor, run: Path, out: Path, *, licence: str = "") -> Parity:
    """Write a folder that ``gazeseg.load`` and every verb take in place of a run.

    ::

        model.safetensors   weights
        config.yaml         how it was trained, without the paths of the machine
        task.json           classes, channels, gaze
        README.md           model card

    Args:
        predictor: The loaded run.
        run: Its folder.
        out: The folder to make; absent or empty.
        licence: For the card.

    Returns:
        How far the loaded folder is from the run.

    Raises:
        DataError: if the loaded folder answers otherwise, or ``out`` holds something.
    """
    config = predictor.config
    public = config.model_copy(
        update={"data": config.data.model_copy(update={"path": None, "pseudo": None, "cache": None})}
    )
    with staging(out) as folder:
        (folder / EXPORTED).write_bytes(checkpoints.weights_bytes(predictor.method.state_dict()))
        write_yaml(folder / "config.yaml", public)
        RunFolder(folder).write_task(predictor.task)
        (folder / "README.md").write_text(model_card(predictor, run, licence=licence), encoding="utf-8")
        again = Deployed(Predictor.load(folder)).eval()
        return check_parity(predictor, lambda image: again(torch.from_numpy(image)).detach().numpy())


def export_monai_bundle(predictor: Predictor, run: Path, out: Path, *, licence: str = "") -> Parity:
    """Write a MONAI bundle whose network is an exported program, so that it runs without gazeseg.

    ``python -m monai.bundle run --config_file configs/inference.json --input_dir DIR`` segments images.

    Args:
        predictor: The loaded run, on the CPU.
        run: Its folder.
        out: The folder to make; absent or empty.
        licence: For the card.

    Returns:
        How far the network that MONAI's own parser builds is from the run.

    Raises:
        DataError: if it answers otherwise, the method cannot be traced, or ``out`` holds something.
    """
    with staging(out) as folder:
        for name in ("configs", "docs", "models"):
            (folder / name).mkdir()
        (folder / "models" / "model.pt2").write_bytes(pt2_bytes(predictor))
        (folder / "docs" / "README.md").write_text(model_card(predictor, run, licence=licence), encoding="utf-8")
        for name, content in (("metadata", _metadata(predictor)), ("inference", _inference(predictor))):
            (folder / "configs" / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        parser = ConfigParser()
        parser.read_config(folder / "configs" / "inference.json")
        parser["bundle_root"] = str(folder)
        network = parser.get_parsed_content("network")
        return check_parity(predictor, lambda image: network(torch.from_numpy(image)).detach().numpy())


def _inference(predictor: Predictor) -> dict[str, Any]:
    """Return a configuration in MONAI's language: from a folder of images to class indices at the network's size."""
    height, width = allowed_size(predictor)
    grey = predictor.task.in_channels == 1
    return {
        "imports": ["$import numpy", "$import torch", "$from pathlib import Path"],
        "bundle_root": ".",
        "input_dir": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "network": "$torch.export.load(@bundle_root + '/models/model.pt2').module()",
        "data_list": "$[{'image': str(p)} for p in sorted(Path(@input_dir).glob('*')) if p.suffix in ('.png', '.jpg')]",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "LoadImaged",
                    "keys": "image",
                    "reader": "PILReader",
                    "converter": f"$lambda picture: picture.convert('{'L' if grey else 'RGB'}')",
                    "ensure_channel_first": True,
                },
                # MONAI's reader and writer of pictures put x first, the network wants rows first
                {"_target_": "Transposed", "keys": "image", "indices": [0, 2, 1]},
                {
                    "_target_": "Resized",
                    "keys": "image",
                    "spatial_size": [height, width],
                    "mode": "bilinear",
                    "anti_aliasing": True,
                },
            ],
        },
        "inference": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "CopyItemsd", "keys": "image", "names": "pred"},
                {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: x.as_tensor().float()[None]"},
                {"_target_": "Lambdad", "keys": "pred", "func": "@network"},
                {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: x[0].detach()"},
            ],
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": "Transposed", "keys": "pred", "indices": [0, 2, 1]},
            ],
        },
        "pipeline": {
            "_target_": "Compose",
            "transforms": ["@preprocessing", "@inference", "@postprocessing"],
        },
        "dataset": {"_target_": "Dataset", "data": "@data_list", "transform": "@pipeline"},
        "saver": {
            "_target_": "SaveImage",
            "output_dir": "@output_dir",
            "output_postfix": "",
            "output_ext": ".png",
            "output_dtype": "$numpy.uint8",
            "resample": False,
            "separate_folder": False,
        },
        "items": "$list(@dataset)",
        "run": [
            "$list(map(@saver, [item['pred'].as_tensor() for item in @items], [item['image'].meta for item in @items]))"
        ],
    }


def _metadata(predictor: Predictor) -> dict[str, Any]:
    task = predictor.task
    height, width = allowed_size(predictor)
    described = describe_task(predictor)
    return {
        "schema": BUNDLE_SCHEMA,
        "version": __version__,
        "changelog": {__version__: "exported"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"pillow": "11", "nibabel": "5"},
        "name": f"{described['method']} on {task.dataset}",
        "task": f"Segmentation of {', '.join(task.classes[1:])}",
        "description": f"{predictor.method.reference.title}. Learnt from {described['gaze']} gaze on {task.dataset}.",
        "authors": "made with gazeseg",
        "copyright": "see docs/README.md",
        "intended_use": "Research use; not a medical device.",
        "data_source": task.dataset,
        "data_type": "png or jpeg",
        "references": [predictor.method.reference.url],
        "gazeseg": {**described, "python": platform.python_version()},
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "rgb" if task.in_channels == 3 else "magnitude",
                    "num_channels": task.in_channels,
                    "spatial_shape": [f"{MULTIPLE}*n", f"{MULTIPLE}*n"],
                    "smallest": SMALLEST,
                    "learnt_at": [height, width],
                    "dtype": "float32",
                    "value_range": [0, 255],
                    "is_patch_data": False,
                    "channel_def": {str(k): c for k, c in enumerate("RGB" if task.in_channels == 3 else ("grey",))},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": task.num_classes,
                    "spatial_shape": [f"{MULTIPLE}*n", f"{MULTIPLE}*n"],
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {str(k): name for k, name in enumerate(task.classes)},
                }
            },
        },
    }
