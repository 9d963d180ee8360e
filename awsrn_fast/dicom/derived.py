"""The header of a derived image: new identity, where it comes from, how it was made."""

from __future__ import annotations

from argparse import Namespace
from copy import deepcopy
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

import awsrn_fast

from .grid import Grid
from .reading import PALETTE, Scan
from .stored import Stored

if TYPE_CHECKING:
    from pydicom import Dataset

_LOSSY = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
    "1.2.840.10008.1.2.4.203": "ISO_15444_15",
}
"""Transfer syntaxes that lose something, and their methods; one may hold lossless data, which its header then says."""
_STALE = (
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "DataSetTrailingPadding",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "InstanceCreationDate",
    "InstanceCreationTime",
)
_LONGEST_TEXT, _LONGEST_LINE = 1024, 64


def derive(scan: Scan, stored: Stored, grid: Grid, identity: str, args: Namespace) -> tuple[Dataset, tuple[str, ...]]:
    """The header of the enlarged image, and remarks for the user.

    UIDs follow from the source's and from everything that the result depends on: the slices of a series, upscaled by
    one or by several runs, find the same new series, and another result never has the same identity.

    Args:
        scan: the source.
        stored: the values' type, with the range that went through the network.
        grid: the change of its grid.
        identity: hash of weights and options.
        args: the command's options.
    """
    header = _copy_of(scan.header)
    kind, instance = str(header.get("SOPClassUID", "")), str(header.get("SOPInstanceUID", ""))
    remarks = list(_removed(header))
    if scan.big_endian:
        _swap_words(header)
    remarks += grid.apply(header)
    remarks += _pixels(header, scan, stored)
    made = f"{identity} {stored.low} {stored.high}"
    with open(scan.path, "rb") as file:
        contents = _hash_of(file)
    header.SOPInstanceUID = _uid("instance", instance, contents, made)
    for name in ("SeriesInstanceUID", "ConcatenationUID"):
        if header.get(name):
            setattr(header, name, _uid(name, str(header.get(name)), identity))
    text = _told(stored, grid, scan, args)
    _describe(header, text, kind, instance, scan.frames)
    _meta(header)
    return header, tuple(remarks)


def _copy_of(header: Dataset) -> Dataset:
    """A copy that is no longer bound to the source's byte order."""
    from pydicom.dataset import Dataset

    copied = Dataset()
    copied.update(deepcopy(header))
    return copied


def _removed(header: Dataset) -> list[str]:
    gone = [name for name in _STALE if name in header]
    for name in gone:
        del header[name]
    return ["digital signatures, which held for the input, are left out"] if "DigitalSignaturesSequence" in gone else []


def _swap_words(header: Dataset) -> None:
    """Turn the 16-bit words of a big-endian file, which the library hands on as bytes."""
    for element in header.iterall():
        if element.VR == "OW" and isinstance(element.value, bytes) and len(element.value) % 2 == 0:
            element.value = np.frombuffer(element.value, "u2").byteswap().tobytes()


def _pixels(header: Dataset, scan: Scan, stored: Stored) -> list[str]:
    """What the samples are."""
    header.BitsAllocated, header.BitsStored, header.HighBit = stored.allocated, stored.bits, stored.bits - 1
    header.PixelRepresentation = int(stored.signed)
    remarks = []
    if scan.photometric == PALETTE:
        for name in [each.keyword for each in header if "PaletteColorLookupTable" in each.keyword]:
            del header[name]
        remarks.append("palette converted to RGB")
    if not scan.gray:
        header.PhotometricInterpretation, header.SamplesPerPixel, header.PlanarConfiguration = "RGB", 3, 0
    method = _LOSSY.get(scan.syntax)
    if method and header.get("LossyImageCompression") is None:
        header.LossyImageCompression, header.LossyImageCompressionMethod = "01", method
    return remarks


def _told(stored: Stored, grid: Grid, scan: Scan, args: Namespace) -> str:
    weights = "the default weights" if args.weights is None else f"weights {args.weights}"
    size = f"{grid.before[1]}x{grid.before[0]} to {grid.after[1]}x{grid.after[0]}"
    values = f"; values {stored.low} to {stored.high} as 0 to 1" if scan.gray else ""
    return (
        f"Super-resolution {size} by awsrn_fast {awsrn_fast.__version__} with {weights}{values}. "
        "Details are estimates of a neural network; not for diagnosis"
    )


def _describe(header: Dataset, text: str, kind: str, instance: str, frames: int) -> None:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = kind, instance
    source.PurposeOfReferenceCodeSequence = Sequence([_code("121322", "Source image for image processing operation")])
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = Sequence([_code("109102", "Processing Equipment")])
    equipment.Manufacturer, equipment.ManufacturerModelName = "awsrn_fast", "awsrn_fast.upscale"
    equipment.SoftwareVersions = awsrn_fast.__version__
    equipment.ContributionDescription = "Super-resolution"
    _append(header, "ContributingEquipmentSequence", equipment)

    header.ImageType = ["DERIVED", "SECONDARY", *list(header.get("ImageType") or ())[2:]]
    derivation = header
    frame_groups = header.get("PerFrameFunctionalGroupsSequence")
    if frame_groups:
        _of_frames(header, frame_groups, source, text)
    else:
        _append(header, "SourceImageSequence", source)
        _derivation(derivation, text)
    before = str(header.get("SeriesDescription") or "")
    header.SeriesDescription = f"{before[: _LONGEST_LINE - 18]} super-resolution".strip()


def _of_frames(header: Dataset, groups: list[Dataset], source: Dataset, text: str) -> None:
    """Enhanced images tell it of each frame."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    shared = header.get("SharedFunctionalGroupsSequence") or ()
    holder = shared[0] if shared and "DerivationImageSequence" in shared[0] else None
    for number, group in enumerate(groups, 1):
        own = Dataset()
        own.update(source)
        own.ReferencedFrameNumber = number
        item = Dataset()
        item.SourceImageSequence = Sequence([own])
        _derivation(item, text)
        if holder is not None:
            group.DerivationImageSequence = Sequence(list(holder.DerivationImageSequence))
        _append(group, "DerivationImageSequence", item)
    if holder is not None:
        del holder.DerivationImageSequence
    for group in (*shared, *groups):
        for element in [each for each in group if each.VR == "SQ" and each.keyword.endswith("FrameTypeSequence")]:
            for item in element.value:
                if item.get("FrameType"):
                    item.FrameType = ["DERIVED", "SECONDARY", *list(item.FrameType)[2:]]


def _derivation(place: Dataset, text: str) -> None:
    before = str(place.get("DerivationDescription") or "")
    room = _LONGEST_TEXT - len(text) - 2
    place.DerivationDescription = f"{before[:room]}; {text}" if before else text
    _append(place, "DerivationCodeSequence", _code("113085", "Spatial resampling"))


def _append(place: Dataset, name: str, item: Dataset) -> None:
    from pydicom.sequence import Sequence

    setattr(place, name, Sequence([*(place.get(name) or ()), item]))


def _code(value: str, meaning: str) -> Dataset:
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _meta(header: Dataset) -> None:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta = meta


def _uid(*parts: str) -> str:
    from pydicom.uid import generate_uid

    return generate_uid(entropy_srcs=["awsrn_fast", *parts])


def _hash_of(file) -> str:
    found = sha256()
    while block := file.read(2**20):
        found.update(block)
    return found.hexdigest()
