"""Labelled volumes as VTK image data (`.vti`), for ParaView and everything else that reads VTK."""

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

ARRAY = "phase"
"""Name of the cell data: the labels as in the training images."""


def write_vti(stream: BinaryIO, labels: NDArray[np.uint8], voxel_size_um: float | None) -> None:
    """Write labels as cell data, one cell per voxel, spacing in micrometres (1 where the voxel size is not known).

    Args:
        stream: binary.
        labels: (z, y, x).
        voxel_size_um: side of a voxel.
    """
    # The modules themselves, not `vtk`: that name brings rendering, which needs a graphics library.
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkIOXML import vtkXMLImageDataWriter

    spacing = 1.0 if voxel_size_um is None else voxel_size_um
    image = vtkImageData()
    image.SetDimensions(*(side + 1 for side in reversed(labels.shape)))  # points, one more than cells
    image.SetSpacing(spacing, spacing, spacing)
    values = numpy_to_vtk(np.ascontiguousarray(labels).ravel(), deep=True)  # type: ignore[no-untyped-call]  # x fastest in both
    values.SetName(ARRAY)
    image.GetCellData().SetScalars(values)
    writer = vtkXMLImageDataWriter()
    writer.SetInputData(image)
    writer.SetDataModeToBinary()  # compressed and in base64: appended raw bytes are no valid XML
    writer.WriteToOutputStringOn()
    writer.Write()
    stream.write(writer.GetOutputString().encode())
