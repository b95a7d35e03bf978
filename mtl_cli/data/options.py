"""Options of the data room: where inputs and labels come from, and how they are split."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from mtl_cli.options import Count, Index, NonNegative, Option, Positive, Share, Table


class ImageSource(Option):
    """What every source of images has: its augmentation, one draw for each sample and epoch."""

    crop: Annotated[Index, Meta(description="pixels of black border that a random crop may reach into; 0: none")]
    flip: Annotated[bool, Meta(description="flip left to right, half of the time")]


class Digits(ImageSource, tag="digits"):
    """scikit-learn's 1,797 handwritten digits, 8x8, grey; no download (Alpaydin and Kaynak 1998)."""

    test: Annotated[Share, Meta(description="share kept for test")]


class Cifar10(ImageSource, tag="cifar10"):
    """CIFAR-10: torchvision's layout, or a folder or zip of train/<class>/* and test/<class>/* (Krizhevsky 2009)."""

    path: Annotated[str | None, Meta(description="file or folder below data_dir; null: the usual places")]


Resize = Literal["stretch", "crop", "pad"]


class ImageFiles(ImageSource):
    """What sources of images in files have: where they lie, and how each becomes bytes."""

    path: Annotated[str, Meta(description="the folder or zip file of images, below data_dir or absolute")]
    size: Annotated[
        Count | Annotated[list[Count], Meta(min_length=2, max_length=2)] | None,
        Meta(description="side in pixels, or [height, width], to bring images to; null: all are of one size"),
    ]
    resize: Annotated[
        Resize,
        Meta(description="to size: stretch; crop: cover it and cut the middle out; pad: fit between black borders"),
    ]
    colour: Annotated[bool, Meta(description="three channels; false: grey")]


class ImageFolder(ImageFiles, tag="image_folder"):
    """A folder or zip of images, one folder a class: train/<class>/* and test/<class>/*, or <class>/* alone."""

    test: Annotated[Share, Meta(description="share kept for test where there are no folders train and test")]


class Mnist(ImageSource, tag="mnist"):
    """MNIST or Fashion-MNIST in torchvision's layout, 28x28, grey (LeCun 1998; Xiao 2017)."""

    variant: Annotated[Literal["MNIST", "FashionMNIST"], Meta(description="which of the two, the folder in data_dir")]


class Overlay(ImageSource, tag="overlay"):
    """Two images of MNIST or Fashion-MNIST on one canvas of 36x36, grey (Sener 2018; Lin 2019)."""

    first: Annotated[Literal["MNIST", "FashionMNIST"], Meta(description="set of the left image, at rows 0-27")]
    second: Annotated[Literal["MNIST", "FashionMNIST"], Meta(description="set of the right image, drawn by data.seed")]
    offset: Annotated[
        int, Meta(ge=0, le=8, description="first row and column of the right image; 6: Sener and Koltun, 8: Lin et al.")
    ]
    size: Annotated[Count | None, Meta(description="side in pixels to resize to, by nearest; null: the canvas's 36")]
    other_class: Annotated[bool, Meta(description="the right image is of another class than the left one")]


SplitColumn = Annotated[str | None, Meta(description="a column that says train, val or test of each row")]
TestShare = Annotated[Share, Meta(description="share kept for test where neither of these says which rows are")]
Missing = Annotated[
    list[str | int | float], Meta(description="what is written in an empty cell, beside nothing at all")
]
Codes = Annotated[
    dict[str, list[str | int | float]], Meta(description="column -> what else is written in its empty cells")
]
Delimiter = Annotated[str | None, Meta(description="between cells; null: by the file's name or its first line")]
TextEncoding = Annotated[str, Meta(description="of text, such as utf-8, cp1252, utf-16")]


class TableFile(Option, tag="table"):
    """Rows of a CSV, TSV, Parquet or JSON-lines file: numbers, categories and dates in, any columns to predict."""

    path: Annotated[str, Meta(description="the file, below data_dir or absolute; .gz too")]
    test_path: Annotated[
        str | None, Meta(description="a file of its own for test; null: test rows are in the same one")
    ]
    split: SplitColumn
    test: TestShare
    numbers: Annotated[list[str], Meta(description="input columns of numbers")]
    categories: Annotated[list[str], Meta(description="input columns of words, one of several")]
    dates: Annotated[list[str], Meta(description="input columns of dates, with or without times of day")]
    rare: Annotated[Count, Meta(description="words in fewer rows of train than this are one unknown word")]
    missing: Missing
    codes: Codes
    delimiter: Delimiter
    encoding: TextEncoding
    columns: Annotated[list[str] | None, Meta(description="the columns' names, where CSV has no header; null: it has")]


class ImageTable(ImageFiles, tag="image_table"):
    """Images that a table names, with any number of columns to predict; several tables are joined by the paths."""

    labels: Annotated[
        str | Annotated[list[str], Meta(min_length=1)],
        Meta(description="the file, or list of files, with a row an image, as the source table reads them"),
    ]
    column: Annotated[str, Meta(description="the column of the images' paths, told from the folder or zip")]
    test_path: Annotated[str | None, Meta(description="a file of its own for test; null: test rows are in the others")]
    split: SplitColumn
    test: TestShare
    missing: Missing
    codes: Codes
    delimiter: Delimiter
    encoding: TextEncoding


SOURCES = Table(
    "source",
    (Digits, "mtl_cli.data.digits:DigitsSource"),
    (Cifar10, "mtl_cli.data.cifar10:Cifar10Source"),
    (ImageFolder, "mtl_cli.data.image_folder:ImageFolderSource"),
    (Mnist, "mtl_cli.data.mnist:MnistSource"),
    (Overlay, "mtl_cli.data.overlay:OverlaySource"),
    (ImageTable, "mtl_cli.data.image_table:ImageTableSource"),
    (TableFile, "mtl_cli.data.table.source:TableSource"),
)


class Uniform(Option, tag="uniform"):
    """Every batch has trainer.batch_size samples of each part."""


class Proportional(Option, tag="proportional"):
    """Parts share a batch by their sizes, so that an epoch passes each of them once."""


class Temperature(Option, tag="temperature"):
    """Parts share a batch by size^(1 / tau): between proportional and uniform (Arivazhagan et al. 2019)."""

    tau: Annotated[Positive, Meta(description="1: as proportional, larger: nearer to uniform")]


class RoundRobin(Option, tag="round_robin"):
    """Every batch has one part, in turn; trainer.accumulate as large as there are parts lets a step see all."""


SAMPLINGS = Table(
    "sampling",
    (Uniform, "mtl_cli.data.sampling:uniform"),
    (Proportional, "mtl_cli.data.sampling:proportional"),
    (Temperature, "mtl_cli.data.sampling:temperature"),
    (RoundRobin, "mtl_cli.data.sampling:round_robin"),
)


class DataOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the data of a task set is found, split and shortened."""

    seed: Annotated[Index, Meta(description="decides splits and synthesis, and nothing else")]
    limit: Annotated[Count | None, Meta(description="keep so many samples of each part's train and test; null: all")]
    validation: Annotated[Share, Meta(description="share of train that selects the best epoch")]
    held_out: Annotated[Share, Meta(description="share of train for methods that look at data they do not train on")]
    memory: Annotated[
        NonNegative | None,
        Meta(
            description="GiB that a part's decoded images may take, else they stay in files; null: half of what is "
            "free, shared by the parts"
        ),
    ]
    workers: Annotated[
        Count | None, Meta(description="processes that decode images which stay in files; null: CPUs less one, up to 8")
    ]
    download: Annotated[bool, Meta(description="fetch what is missing, where its source can")]
    statistics: Annotated[
        Literal["part", "shared"], Meta(description="running statistics of batch norm: one set a part, or one for all")
    ]
    sampling: Annotated[Option, Meta(description="how many samples of each part a batch has")]
    parts: Annotated[dict[str, Option], Meta(description="part -> source: tasks of one part share their input")]
