"""Problems in a folder of images that would harm training, found by reading every file."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cnn_cli.data.examine import ORDINARY, Examined, examine_all
from cnn_cli.data.listing import WHOLE, Listing, one_form, shows_class
from cnn_cli.data.near import near_groups
from cnn_cli.data.opening import open_dataset
from cnn_cli.data.roots import open_listing
from cnn_cli.errors import DataError, none_readable

FEW_IMAGES = 10  # of a class in training
IMBALANCE = 10  # ratio between the sizes of two classes
SMALL_SIDE = 8  # pixels
LARGE_PIXELS = 40_000_000
LONG_SIDE = 5  # ratio between the sides

KINDS = (
    "unreadable",
    "two_classes",
    "two_parts",
    "copies",
    "near_two_classes",
    "near_two_parts",
    "near_copies",
    "empty_class",
    "small_class",
    "imbalance",
    "unknown_class",
    "missing_class",
    "similar_classes",
    "small",
    "large",
    "narrow",
    "mode",
    "not_image",
    "outside",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A possible problem.

    Attributes:
        kind: one of `KINDS`.
        paths: the affected files or folders.
        detail: further information in words; may be empty.
    """

    kind: str
    paths: tuple[str, ...]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class NearSearch:
    """How near-duplicates were searched.

    Attributes:
        distance: the largest Hamming distance of two 64-bit hashes, see `near`.
        compared: number of images compared.
        flat: number of images not compared because they have hardly any contrast.
    """

    distance: int
    compared: int
    flat: int


@dataclass(frozen=True, slots=True)
class Findings:
    """The content of a folder and its possible problems.

    Attributes:
        root: the folder.
        parts: number of readable images by part (`train`, `val`, `test`; `all` if there are no
            parts) and class; an image with several labels counts for each.
        images: number of readable images by part.
        found: findings in the order of `KINDS`, then in that of the files.
        error: what prevents training, or None.
        near: None if near-duplicates were not searched.
        remarks: further notes for the user, one per line.
    """

    root: str
    parts: dict[str, dict[str, int]]
    images: dict[str, int]
    found: tuple[Finding, ...]
    error: DataError | None
    near: NearSearch | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Seen:
    """An image file, its place, and its properties.

    Attributes:
        classes: names of its classes, sorted.
        picture: the image's properties, or why the file cannot be read.
    """

    part: str
    classes: tuple[str, ...]
    path: str
    picture: Examined | str


def check_folder(
    root: Path,
    threads: int,
    progress: Callable[[int, int], object] | None = None,
    near: int | None = None,
    separator: str | None = None,
) -> Findings:
    """Read all images of a folder and list possible problems for training. Nothing is changed.

    Args:
        root: class folders, or folders `train`, `val` and `test` with class folders.
        threads: number of reading threads.
        progress: called from time to time with the number of images read and the total.
        near: also search near-duplicates up to this distance.
        separator: separates the labels of an image in a label list; None if each image has one
            label.

    Raises:
        DataError: `root` is missing, cannot be read, or has no class folder.
    """
    listing = open_listing(root, separator=separator)
    error = _what_stops(root, separator)
    classes = {
        part: {name: _place(name, place) for name, place in each.classes.items()}
        for part, each in listing.parts.items()
    }
    if error is not None and not any(classes.values()):
        raise error
    found: list[Finding] = []
    places = list(_list_images(listing, found))
    seen = [
        _Seen(part, names, path, picture)
        for (part, names, path), picture in zip(
            places, examine_all([path for *_, path in places], threads, progress), strict=True
        )
    ]
    counts = {part: dict.fromkeys(folders, 0) for part, folders in classes.items()}
    images = dict.fromkeys(classes, 0)
    for each in seen:
        if isinstance(each.picture, Examined):
            images[each.part] += 1
            for name in each.classes:
                counts[each.part][name] += 1
    trained = "train" if listing.has_parts() else WHOLE
    if error is None and not images[trained]:
        error = none_readable(root, len(seen))
    lost = next((name for name, count in counts.get(trained, {}).items() if not count), None)
    if error is None and lost is not None:
        found_of_it = sum(each.part == trained and lost in each.classes for each in seen)
        error = none_readable(classes[trained][lost], found_of_it)
    found += _of_files(seen)
    found += _copies(seen)
    looked = None
    if near is not None:
        near_copies, looked = _near_copies(seen, near)
        found += near_copies
    found += _of_classes(classes, counts)
    found += _of_names(classes)
    found += [Finding("outside", (path,)) for path in listing.outside]
    found.sort(key=lambda finding: KINDS.index(finding.kind))
    return Findings(str(root), counts, images, tuple(found), error, looked, listing.remarks())


def _place(name: str, place: str) -> str:
    """Return the place of a class, with its name."""
    return place if shows_class(place, name) else f"{place} ({name})"


def _what_stops(root: Path, separator: str | None) -> DataError | None:
    try:
        open_dataset(root, None, 0.0, separator=separator)
    except DataError as error:
        return error
    return None


def _list_images(
    listing: Listing, found: list[Finding]
) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Yield part, classes and path of every image; other files are added to `found`."""

    def unreadable(error: DataError) -> None:
        found.append(Finding("unreadable", (error.place,), f"{error.rule}: {error.got}"))

    def other(path: str) -> None:
        found.append(Finding("not_image", (path,)))

    for part, each in listing.parts.items():
        if listing.labeled:
            for path, names in listing.labeled.get(part, []):
                yield part, tuple(sorted(set(names))), path
            continue
        for name in each.classes:
            for path in listing.images(part, name, unreadable, other):
                yield part, (name,), path


def _of_files(seen: list[_Seen]) -> Iterator[Finding]:
    """Yield problems and unusual properties of single images."""
    kinds = Counter(each.picture.kind for each in seen if isinstance(each.picture, Examined))
    usual = max([*ORDINARY, *kinds], key=lambda kind: kinds[kind])
    for each in seen:
        path, picture = (each.path,), each.picture
        if isinstance(picture, str):
            yield Finding("unreadable", path, picture)
            continue
        size = f"{picture.width}x{picture.height}"
        short, long = sorted((picture.width, picture.height))
        if short < SMALL_SIDE:
            yield Finding("small", path, size)
        if short * long > LARGE_PIXELS:
            yield Finding("large", path, size)
        if long > LONG_SIDE * short:
            yield Finding("narrow", path, size)
        if picture.kind == usual:
            continue
        if usual in ORDINARY and picture.kind not in ORDINARY:
            yield Finding("mode", path, picture.kind)
        else:
            yield Finding("mode", path, f"{picture.kind} where most are {usual}")


def _copies(seen: list[_Seen]) -> Iterator[Finding]:
    """Yield files with equal content."""
    groups: dict[bytes, list[_Seen]] = defaultdict(list)
    for each in seen:
        if isinstance(each.picture, Examined):
            groups[each.picture.digest].append(each)
    for group in groups.values():
        if len(group) > 1:
            yield from _by_place(group)


def _near_copies(seen: list[_Seen], distance: int) -> tuple[list[Finding], NearSearch]:
    """Return groups of similar images with different content, and how they were searched."""
    looks = [(each, each.picture.look) for each in seen if isinstance(each.picture, Examined)]
    compared = [each for each, look in looks if look is not None]
    found: list[Finding] = []
    for group in near_groups([look for _, look in looks if look is not None], distance):
        members = [compared[place] for place in group.places]
        found += _by_place(members, "near_", f"distance {group.distance}")
    return found, NearSearch(distance, len(compared), len(looks) - len(compared))


def _by_place(group: list[_Seen], prefix: str = "", detail: str = "") -> Iterator[Finding]:
    """Yield duplicates across classes, across parts, and within one class and part.

    Near-duplicates, which have a prefix, are skipped if all have equal content.
    """
    if prefix and not _differ(group):
        return
    if len({each.classes for each in group}) > 1:
        yield Finding(f"{prefix}two_classes", _paths(_varied(group, lambda x: x.classes)), detail)
    if len({each.part for each in group}) > 1:
        yield Finding(f"{prefix}two_parts", _paths(_varied(group, lambda x: x.part)), detail)
    together: dict[tuple[str, tuple[str, ...]], list[_Seen]] = defaultdict(list)
    for each in group:
        together[each.part, each.classes].append(each)
    for same in together.values():
        if len(same) > 1 and (not prefix or _differ(same)):
            yield Finding(f"{prefix}copies", _paths(same), detail)


def _varied(group: list[_Seen], key: Callable[[_Seen], Hashable]) -> list[_Seen]:
    """Sort so that the first image of each class or part comes first: reports show only some."""
    first = {key(each): each for each in reversed(group)}
    return sorted(group, key=lambda each: first[key(each)] is not each)


def _differ(group: list[_Seen]) -> bool:
    """Whether their content differs."""
    digests = {each.picture.digest for each in group if isinstance(each.picture, Examined)}
    return len(digests) > 1


def _paths(seen: Iterable[_Seen]) -> tuple[str, ...]:
    return tuple(each.path for each in seen)


def _of_classes(
    classes: dict[str, dict[str, str]], counts: dict[str, dict[str, int]]
) -> Iterator[Finding]:
    """Yield classes with very few images, or far fewer than others."""
    for part, folders in classes.items():
        trained = part in ("train", WHOLE)
        ranked = sorted((count, name) for name, count in counts[part].items() if count)
        for name, folder in folders.items():
            count = counts[part][name]
            if count == 0:
                yield Finding("empty_class", (folder,))
            elif trained and count < FEW_IMAGES:
                yield Finding("small_class", (folder,), _images(count))
        if trained and ranked and ranked[-1][0] >= IMBALANCE * ranked[0][0]:
            (few, rare), (many, common) = ranked[0], ranked[-1]
            detail = f"{_images(many)} and {few:,}, {many / few:,.0f} times as many"
            yield Finding("imbalance", (folders[common], folders[rare]), detail)


def _of_names(classes: dict[str, dict[str, str]]) -> Iterator[Finding]:
    """Yield classes that differ between parts, or whose names are nearly the same."""
    similar: dict[str, dict[str, str]] = defaultdict(dict)
    forms = {part: set(map(one_form, folders)) for part, folders in classes.items()}
    for part, folders in classes.items():
        for name, folder in folders.items():
            similar[_folded(name)].setdefault(name, folder)
            if part != "train" and one_form(name) not in forms.get("train", forms[part]):
                yield Finding("unknown_class", (folder,))
    for same in similar.values():
        if len(same) > 1:
            yield Finding("similar_classes", tuple(same.values()))
    for name, folder in classes.get("train", {}).items():
        for part in ("val", "test"):
            if one_form(name) not in forms.get(part, forms["train"]):
                yield Finding("missing_class", (folder,), f"not in {part}")


def _folded(name: str) -> str:
    """Fold a name by what file systems may ignore: case, and the Unicode form of accents."""
    return one_form(name).casefold()


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"
