"""Geometry of a DICOM image on a grid of smaller pixels: every point keeps its place in the patient.

The image's edges stay, so with factors ``s`` the centre of the new first pixel lies ``0.5 / s - 0.5`` old pixels from
that of the old one (PS3.3, C.7.6.2.1.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from awsrn_fast.images.grid import GridChange

if TYPE_CHECKING:
    from pydicom import Dataset

LARGEST_SIDE = 65535
SPACINGS = (
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "ImagePlanePixelSpacing",
    "ObjectPixelSpacingInCenterOfBeam",
)
"""Distances of rows and of columns."""
_COLUMNS = (
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
    "CollimatorLeftVerticalEdge",
    "CollimatorRightVerticalEdge",
)
_ROWS = (
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "CollimatorUpperHorizontalEdge",
    "CollimatorLowerHorizontalEdge",
)
_PAIRS = (
    "CenterOfCircularShutter",
    "VerticesOfThePolygonalShutter",
    "CenterOfCircularCollimator",
    "VerticesOfThePolygonalCollimator",
)
_RADII = ("RadiusOfCircularShutter", "RadiusOfCircularCollimator")
_OVERLAYS = range(0x6000, 0x601F, 2)


class Grid(GridChange):
    """The change of a DICOM image's grid."""

    @property
    def shift(self) -> tuple[float, float]:
        """Row and column of the new first pixel's centre, in old pixels from the old one's."""
        return 0.5 / self.down - 0.5, 0.5 / self.across - 0.5

    def row(self, number: int) -> int:
        """The new row, counted from 1, at the middle of an old one."""
        return round((number - 0.5) * self.down + 0.5)

    def column(self, number: int) -> int:
        """The new column, counted from 1, at the middle of an old one."""
        return round((number - 0.5) * self.across + 0.5)

    def apply(self, header: Dataset) -> tuple[str, ...]:
        """Change everything in a header that depends on the grid; returns remarks for the user."""
        self._place(header)
        header.Rows, header.Columns = self.after
        self._mark(header)
        for region in header.get("SequenceOfUltrasoundRegions") or ():
            self._ultrasound(region)
        return self._overlays(header)

    def _place(self, header: Dataset) -> None:
        """Positions first, since they depend on the old spacings."""
        shared = _first(header.get("SharedFunctionalGroupsSequence"))
        frames = header.get("PerFrameFunctionalGroupsSequence") or ()
        self._position(header, (header,))
        for frame in (*frames, *([shared] if shared is not None else [])):
            self._position(frame, (frame, *([shared] if shared is not None and frame is not shared else [])))
        for detector in header.get("DetectorInformationSequence") or ():
            self._position(detector, (detector, header))
        if "RTImagePosition" in header and "ImagePlanePixelSpacing" in header:
            rows, columns = map(float, header.ImagePlanePixelSpacing)
            x, y = map(float, header.RTImagePosition)
            # The plane's y points up, rows are counted down.
            header.RTImagePosition = _decimals((x + self.shift[1] * columns, y - self.shift[0] * rows))
        for place in (header, shared, *frames):
            self._spacings(place)

    def _position(self, place: Dataset, scopes: Sequence[Dataset]) -> None:
        """Move the position that ``place`` holds; orientation and spacing may stand in any of the scopes."""
        for holder, position in _holders(place, ("ImagePositionPatient", "ImagePositionVolume")):
            kind = position.removeprefix("ImagePosition")
            orientation, spacing = _found(scopes, f"ImageOrientation{kind}"), _found(scopes, "PixelSpacing")
            old = holder.get(position)
            if old is None or orientation is None or spacing is None or len(old) != 3 or len(orientation) != 6:
                continue
            directions = np.array(orientation, float).reshape(2, 3)  # along a row, along a column
            rows, columns = map(float, spacing)
            new = np.array(old, float) + directions.T @ (self.shift[1] * columns, self.shift[0] * rows)
            # Of volumes they are binary numbers, of patients decimals.
            numbers = new.tolist()
            setattr(holder, position, _decimals(numbers) if kind == "Patient" else numbers)

    def _spacings(self, place: Dataset | None) -> None:
        if place is None:
            return
        for holder, name in _holders(place, SPACINGS):
            rows, columns = map(float, holder.get(name))
            setattr(holder, name, _decimals((rows / self.down, columns / self.across)))

    def _mark(self, header: Dataset) -> None:
        """Shutters, collimators and other places that are counted in pixels."""
        for name in (*_ROWS, *_COLUMNS):
            if header.get(name) is not None:
                setattr(header, name, self.row(header.get(name)) if name in _ROWS else self.column(header.get(name)))
        for name in _PAIRS:
            numbers = header.get(name)
            if numbers:
                turns = (self.row, self.column)
                setattr(header, name, [turns[at % 2](int(number)) for at, number in enumerate(numbers)])
        for name in _RADII:
            if header.get(name) is not None:
                setattr(header, name, max(1, round(header.get(name) * (self.down * self.across) ** 0.5)))
        for item in header.get("MaskSubtractionSequence") or ():
            if item.get("MaskSubPixelShift"):
                rows, columns = item.MaskSubPixelShift
                item.MaskSubPixelShift = [rows * self.down, columns * self.across]
        for name in ("SmallestImagePixelValue", "LargestImagePixelValue"):
            if name in header:
                del header[name]

    def _ultrasound(self, region: Dataset) -> None:
        for axis, factor in (("X", self.across), ("Y", self.down)):
            for name, end in ((f"RegionLocationMin{axis}0", 0), (f"RegionLocationMax{axis}1", 1)):
                if region.get(name) is not None:
                    setattr(region, name, round((region.get(name) + end) * factor) - end)
            delta = region.get(f"PhysicalDelta{axis}")
            if delta is not None:
                setattr(region, f"PhysicalDelta{axis}", delta / factor)
            name = f"ReferencePixel{axis}0"
            if region.get(name) is not None:
                exact = (region.get(name) + 0.5) * factor - 0.5
                setattr(region, name, round(exact))
                value = region.get(f"ReferencePixelPhysicalValue{axis}")
                if value is not None and delta is not None:  # what rounding moved
                    moved = (round(exact) - exact) * delta / factor
                    setattr(region, f"ReferencePixelPhysicalValue{axis}", value + moved)
            for name in (f"DopplerSampleVolume{axis}Position", f"TMLinePosition{axis}0", f"TMLinePosition{axis}1"):
                if region.get(name) is not None:
                    setattr(region, name, round((region.get(name) + 0.5) * factor - 0.5))

    def _overlays(self, header: Dataset) -> tuple[str, ...]:
        remarks = []
        for group in _OVERLAYS:
            if (group, 0x0010) not in header:
                continue
            if not self._overlay(header, group):
                for element in list(header.group_dataset(group)):
                    del header[element.tag]
                remarks.append("an overlay that does not cover the image is left out")
        return tuple(dict.fromkeys(remarks))

    def _overlay(self, header: Dataset, group: int) -> bool:
        """Enlarge one overlay by repeating its pixels; False: it is no plane of its own on the image's grid."""
        rows, columns = header[group, 0x0010].value, header[group, 0x0011].value
        data = header.get((group, 0x3000))
        origin = header.get((group, 0x0050))
        frames = header.get((group, 0x0015))
        count = int(frames.value) if frames is not None else 1
        whole = (rows, columns) == self.before and (origin is None or list(origin.value) == [1, 1])
        if data is None or not whole or 8 * len(data.value) < count * rows * columns:
            return False
        bits = np.unpackbits(np.frombuffer(data.value, np.uint8), bitorder="little")[: count * rows * columns]
        places = [
            ((np.arange(after) + 0.5) * before // after).astype(int)
            for before, after in zip(self.before, self.after, strict=True)
        ]
        large = bits.reshape(count, rows, columns)[:, places[0][:, None], places[1]]
        packed = np.packbits(large, bitorder="little").tobytes()
        header[group, 0x3000].value = packed + b"\0" * (len(packed) % 2)
        header[group, 0x0010].value, header[group, 0x0011].value = self.after
        return True


def _holders(place: Dataset, names: Sequence[str]) -> Iterator[tuple[Dataset, str]]:
    """Where a data set holds elements: in itself, or in an item of one of its sequences (functional groups)."""
    for name in names:
        if place.get(name) is not None:
            yield place, name
    for element in [each for each in place if each.VR == "SQ" and each.keyword in _GROUPS]:
        for item in element.value:
            for name in names:
                if item.get(name) is not None:
                    yield item, name


_GROUPS = (
    "PixelMeasuresSequence",
    "PlanePositionSequence",
    "PlanePositionVolumeSequence",
    "PlaneOrientationSequence",
    "PlaneOrientationVolumeSequence",
    "XRayObjectThicknessSequence",
    "FrameDetectorParametersSequence",
    "IsocenterReferenceSystemSequence",
    "XAXRFFrameCharacteristicsSequence",
    "FramePixelDataPropertiesSequence",
)


def _found(scopes: Sequence[Dataset], name: str) -> Sequence[float] | None:
    for scope in scopes:
        for holder, _ in _holders(scope, (name,)):
            return holder.get(name)
    return None


def _first(items: Sequence[Dataset] | None) -> Dataset | None:
    return items[0] if items else None


def _decimals(numbers: Sequence[float]) -> list:
    """Numbers as decimal strings of at most 16 characters, as near as those can be."""
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(number), auto_format=True) for number in numbers]
