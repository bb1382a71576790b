"""The published archive: facts about it, and how its files are fetched, mocked, read and verified."""

from mergershift.archive.arrangement import Rows
from mergershift.archive.channel_evidence import same_galaxies
from mergershift.archive.channels import ChannelOrder, channel_order, open_images, sample_of
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
    terms_of,
)
from mergershift.archive.readers import Images, available, read_labels
from mergershift.archive.rows import GALAXIES_REMEDY, limits, read_rows

__all__ = [
    "BASE_ADDRESS",
    "DATA_SETS",
    "DOI",
    "FIELD_KPC",
    "FILTER_SETS",
    "GALAXIES_REMEDY",
    "IMAGE_SIZE",
    "PIXEL_ARCSEC",
    "PUBLISHED_ROWS",
    "REDSHIFT",
    "UNIT",
    "ArchiveProvenance",
    "ChannelOrder",
    "DataSet",
    "Domain",
    "FilterFacts",
    "FilterSet",
    "Images",
    "MockProvenance",
    "Origin",
    "RowStructure",
    "Rows",
    "available",
    "channel_order",
    "images_of",
    "limits",
    "open_images",
    "read_labels",
    "read_metadata",
    "read_provenance",
    "read_rows",
    "same_galaxies",
    "sample_of",
    "terms_of",
    "write_metadata",
]
