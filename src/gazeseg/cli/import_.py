"""``gazeseg import``: from files as they are published, or as a lab has them, to a data set folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from gazeseg.data.dataset import Dataset

app = App(
    name="import",
    help="Make a data set folder: images, optional masks, optional gaze, splits. "
    "Images stay where they are unless `--copy`.",
)


def _done(dataset: Dataset, out: Path) -> None:
    counts = ", ".join(f"{len(dataset.split(name))} {name}" for name in ("train", "val", "test", "none"))
    print(f"data set {dataset.info.name} in {out}: {counts}; {dataset.info.split_note}".rstrip("; "))
    if dataset.info.gaze.kind == "simulated":
        print(dataset.info.gaze.note)
    print(f"next: gazeseg check {out}")


@app.command(name="kvasir-seg")
def kvasir_seg(
    *,
    images: Path,
    out: Path,
    masks: Path | None = None,
    gaze: Path | None = None,
    splits: Path | None = None,
    copy: bool = False,
) -> None:
    """Kvasir-SEG with the GazeMedSeg fixations.

    Example: `gazeseg import kvasir-seg --images images --masks masks --gaze kvasir_fixation.csv --splits . --out DS`

    Args:
        images: Folder of the polyp images.
        out: The data set folder to make.
        masks: Folder of the masks; not needed to train on gaze.
        gaze: The fixation table that GazeMedSeg published.
        splits: Folder with train.txt and test.txt; without it a seeded split is made, and said so.
        copy: Copy the images and masks into the folder.
    """
    from gazeseg.data.importers import kvasir_seg as importer

    _done(importer.run(out, images=images, masks=masks, gaze=gaze, splits=splits, copy=copy), out)


@app.command(name="nci-isbi")
def nci_isbi(
    *,
    out: Path,
    masks: Path | None = None,
    images: Path | None = None,
    gaze: Path | None = None,
    splits: Path | None = None,
    copy: bool = False,
) -> None:
    """NCI-ISBI 2013 prostate MR: raw DICOM series with NRRD labels, or prepared PNG slices.

    Example: `gazeseg import nci-isbi --images dicom --masks nrrd --gaze nci-isbi_fixation.csv --splits . --out DS`

    Args:
        out: The data set folder to make.
        masks: Folder of NRRD label volumes, or of prepared PNG slices.
        images: Folder of DICOM series, or of prepared slices; slice and label are paired by DICOM position.
        gaze: The fixation table that GazeMedSeg published.
        splits: Folder with train.txt and test.txt.
        copy: Copy prepared slices into the folder; slices made from DICOM always lie in it.
    """
    from gazeseg.data.importers import nci_isbi as importer

    _done(importer.run(out, images=images, masks=masks, gaze=gaze, splits=splits, copy=copy), out)


@app.command(name="isic")
def isic(
    *,
    root: Path,
    out: Path,
    layout: Literal["2016", "2017", "2018", "prepared"] | None = None,
    gaze: Path | None = None,
    simulate_gaze: bool = False,
    seed: int = 0,
    keep_twins: bool = False,
    copy: bool = False,
) -> None:
    """ISIC skin lesions (2016, 2017 or 2018), whose gaze can be simulated from the training masks.

    Example: `gazeseg import isic --root ISIC2017 --simulate-gaze --out DS`

    Simulated gaze uses ground truth: every table, figure and file made with it says so.

    Args:
        root: Folder with the unpacked archives of one challenge, or with images, masks and train.txt.
        out: The data set folder to make.
        layout: Which challenge, where the folder holds several.
        gaze: A fixation table of your own.
        simulate_gaze: Draw the gaze of the training cases from their masks.
        seed: Decides the simulated gaze.
        keep_twins: Leave an image that stands in two splits in both; by default it is taken out of the training split.
        copy: Copy the images and masks into the folder.
    """
    from gazeseg.data.importers import isic as importer

    dataset = importer.run(
        out,
        root=root,
        layout=layout,
        gaze=gaze,
        simulate_gaze=simulate_gaze,
        seed=seed,
        keep_twins=keep_twins,
        copy=copy,
    )
    _done(dataset, out)


@app.command(name="acdc")
def acdc(*, root: Path, out: Path, splits: Path | None = None, simulate_gaze: bool = False, seed: int = 0) -> None:
    """ACDC cardiac MR: the challenge's NIfTI folders, SSL4MIS's h5 files, or npz volumes.

    Example: `gazeseg import acdc --root ACDC --out DS`

    Slices of the volumes are written into the folder as PNG. Simulated gaze uses ground truth.

    Args:
        root: Folder of the data, searched through.
        out: The data set folder to make.
        splits: Folder with SSL4MIS's train.list, val.list, test.list and train_slices.list, if it is not the root.
        simulate_gaze: Draw the gaze of the training slices from their masks.
        seed: Decides the simulated gaze.
    """
    from gazeseg.data.importers import acdc as importer

    _done(importer.run(out, root=root, splits=splits, simulate_gaze=simulate_gaze, seed=seed), out)


@app.command(name="synapse")
def synapse(*, root: Path, out: Path, simulate_gaze: bool = False, seed: int = 0) -> None:
    """Synapse abdominal CT as TransUNet prepared it: npz slices for training, h5 volumes for test.

    Example: `gazeseg import synapse --root Synapse --out DS`

    Args:
        root: Folder with `train_npz` and `test_vol_h5`, searched through.
        out: The data set folder to make.
        simulate_gaze: Draw the gaze of the training slices from their masks.
        seed: Decides the simulated gaze.
    """
    from gazeseg.data.importers import synapse as importer

    _done(importer.run(out, root=root, simulate_gaze=simulate_gaze, seed=seed), out)


@app.command(name="camus")
def camus(*, root: Path, out: Path, splits: Path | None = None, simulate_gaze: bool = False, seed: int = 0) -> None:
    """CAMUS echocardiography: the NIfTI or the MetaImage release.

    Example: `gazeseg import camus --root CAMUS --out DS`

    Args:
        root: Folder of the data, searched through.
        out: The data set folder to make.
        splits: Folder with subgroup_training.txt and so on, if it is not below the root.
        simulate_gaze: Draw the gaze of the training images from their masks.
        seed: Decides the simulated gaze.
    """
    from gazeseg.data.importers import camus as importer

    _done(importer.run(out, root=root, splits=splits, simulate_gaze=simulate_gaze, seed=seed), out)


@app.command(name="scr")
def scr(*, root: Path, out: Path, merge_sides: bool = True, simulate_gaze: bool = False, seed: int = 0) -> None:
    """SCR chest radiographs: JSRT images, raw or PNG, with the masks of lungs, heart and clavicles.

    Example: `gazeseg import scr --root SCR --out DS`

    Where structures overlap, clavicles lie over the heart and the heart over the lungs.

    Args:
        root: Folder of images and masks, searched through.
        out: The data set folder to make.
        merge_sides: Make left and right one class.
        simulate_gaze: Draw the gaze of the training images from their masks.
        seed: Decides the simulated gaze.
    """
    from gazeseg.data.importers import scr as importer

    _done(importer.run(out, root=root, merge_sides=merge_sides, simulate_gaze=simulate_gaze, seed=seed), out)


@app.command(name="folder")
def folder(
    *,
    images: Path,
    out: Path,
    masks: Path | None = None,
    gaze: Path | None = None,
    splits: Path | None = None,
    patients: Path | None = None,
    classes: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    name: str | None = None,
    copy: bool = False,
) -> None:
    """Your own images, with what else you have.

    Example: `gazeseg import folder --images photos --gaze fixations.csv --out DS`

    The fixation table has the columns case_id, x_px, y_px (or x, y in 0..1), onset_ms, duration_ms.

    Args:
        images: Folder of PNG, JPEG, TIFF or BMP images, searched through.
        out: The data set folder to make.
        masks: Folder of masks with the images' names.
        gaze: A fixation table.
        splits: Folder with train.txt, val.txt, test.txt, one case a line.
        patients: Table case_id, patient_id; without it each case is a patient.
        classes: Names of the classes, background first.
        name: What tables and reports call the data set; by default the folder's name.
        copy: Copy the images and masks into the folder.
    """
    from gazeseg.data.importers import folder as importer

    dataset = importer.run(
        out,
        images=images,
        masks=masks,
        gaze=gaze,
        splits=splits,
        patients=patients,
        classes=classes,
        name=name,
        copy=copy,
    )
    _done(dataset, out)
