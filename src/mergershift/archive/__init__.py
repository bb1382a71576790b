"""The published archive: facts about it, and how its files are fetched, mocked, read and verified."""

from mergershift.archive.facts import (
    BASE_ADDRESS,
    DATA_SETS,
    DOI,
    FIELD_KPC,
    FILTER_SETS,
    IMAGE_SIZE,
    PIXEL_ARCSEC,
    PUBLISHED_ROWS,
    REDSHIFT,
    UNIT,
    DataSet,
    Domain,
    FilterFacts,
    FilterSet,
    RowStructure,
)
from mergershift.archive.metadata import read_metadata, write_metadata
from mergershift.archive.provenance import (
    ArchiveProvenance,
    MockProvenance,
    Origin,
    images_of,
    read_provenance,
)
from mergershift.archive.readers import Images, available, open_images, read_labels, read_structure

__all__ = [
    "BASE_ADDRESS",
    "DATA_SETS",
    "DOI",
    "FIELD_KPC",
    "FILTER_SETS",
    "IMAGE_SIZE",
    "PIXEL_ARCSEC",
    "PUBLISHED_ROWS",
    "REDSHIFT",
    "UNIT",
    "ArchiveProvenance",
    "DataSet",
    "Domain",
    "FilterFacts",
    "FilterSet",
    "Images",
    "MockProvenance",
    "Origin",
    "RowStructure",
    "available",
    "images_of",
    "open_images",
    "read_labels",
    "read_metadata",
    "read_provenance",
    "read_structure",
    "write_metadata",
]
