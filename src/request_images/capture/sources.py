"""Where in a request an image is: an uploaded file, the raw body, base64 in text.

A source is written as a short string::

    files           the first uploaded file that is an image
    files.photo     the file of the form field "photo"
    body            the raw body
    json            the first string in a JSON body that holds an image
    json.input.image    the string at that path ("json.images.0" for a list)
    json:/input/image   the same as a JSON pointer (RFC 6901), for keys with dots
    form            the first text field of a form that holds an image
    form.photo      the text field "photo"

Where several images are looked for, each is a place for all: ``files.photo`` for every
file of that field, ``json.images`` for every element of that list. One of JSON is
rather an outer string; several are taken as they stand in the document.

Without a source, whichever of these fits the request's content type is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter

from request_images.exceptions import SourceError

from .payload import Payload, Upload
from .search import Candidate, IsImage, Search, Source, fitting

SourceSpec = str | Sequence[str] | None

KINDS = ("files", "body", "json", "form")

__all__ = ("Candidate", "Found", "Source", "SourceSpec", "find", "parse", "upload_rank")


@dataclass(frozen=True)
class Found:
    """What was found in a request.

    Attributes:
        candidates: The chosen ones: first the image of the request (the first that is
            an image, else the first that is there at all), then the others in order.
        count: How many images the request holds.
        left_out: How many more there were to choose.
    """

    candidates: Sequence[Candidate] = ()
    count: int = 0
    left_out: int = 0


def parse(spec: SourceSpec) -> tuple[Source, ...]:
    """Read a source, or several that are tried in order. None gives an empty tuple.

    Raises:
        SourceError: It is none; the text says what may be written.
    """
    if spec is None:
        return ()
    if not isinstance(spec, str):
        return tuple(source for item in spec for source in parse(item))
    if spec.startswith("json:/"):
        segments = spec.removeprefix("json:/").split("/")
        return (
            Source(
                "json", tuple(s.replace("~1", "/").replace("~0", "~") for s in segments)
            ),
        )
    kind, *path = spec.split(".")
    # A field name may hold dots, a path in JSON is divided by them.
    parts = path if kind == "json" else [".".join(path)] if path else []
    if kind not in KINDS or not all(parts) or (kind == "body" and parts):
        raise SourceError(
            f"{spec!r} is no source. Write 'files', 'files.<field>', 'body', 'json', "
            "'json.<path>', 'json:/<pointer>', 'form' or 'form.<field>'."
        )
    return (Source(kind, tuple(parts)),)


def find(
    payload: Payload,
    sources: Sequence[Source],
    is_image: IsImage,
    limit: int | None = None,
) -> Found:
    """Find the images in what was seen of a request.

    Args:
        payload: What the tap saw.
        sources: Where to look, in order; empty for "wherever it fits".
        is_image: Tells from the first bytes whether an image begins there.
        limit: How many to choose, images rather than what is none; None for the first.
    """
    search = Search(payload, is_image, takes_all=limit is not None)
    candidates: list[Iterable[Candidate]] = []
    counts: dict[str, int] = {}
    for source in sources or fitting(payload):
        found, counts[source.kind] = search.at(source)
        candidates.append(found)
    count = sum(counts.values())
    # One by one: texts are decoded as they are asked for, and one is mostly enough.
    one_by_one = chain.from_iterable(candidates)
    if limit is not None:
        chosen, left_out = _choose(_once(one_by_one, payload.problem), is_image, limit)
        return Found(chosen, count, left_out)
    first = None
    for candidate in one_by_one:
        if is_image(candidate.head):
            return Found([candidate], count)
        first = first or candidate
    return Found([first] if first else [], count)


def _once(candidates: Iterable[Candidate], problem: str) -> Iterator[Candidate]:
    # Two sources may lead to the same place; and a form that broke is no two of them.
    seen: set[tuple[str, int]] = set()
    for candidate in candidates:
        place = (candidate.source, candidate.number)
        if problem and candidate.problem == problem:
            place = ("", 0)
        if place not in seen:
            seen.add(place)
            yield candidate


def _choose(
    candidates: Iterable[Candidate], is_image: IsImage, limit: int
) -> tuple[list[Candidate], int]:
    """Return the chosen candidates, and how many were not chosen."""
    images: list[tuple[int, Candidate]] = []
    others: list[tuple[int, Candidate]] = []
    left_out = 0
    for number, candidate in enumerate(candidates):
        kind = images if is_image(candidate.head) else others
        if len(kind) < limit:
            kind.append((number, candidate))
        else:
            left_out += 1
        if len(images) + len(others) > limit:  # no more than these at any time
            (others or images).pop()
            left_out += 1
    first = (images or others)[:1]
    rest = sorted(images[1:] + others if images else others[1:], key=itemgetter(0))
    return [candidate for _, candidate in first + rest], left_out


def upload_rank(
    upload: Upload, sources: Sequence[Source], is_image: IsImage
) -> tuple[int, ...]:
    """Tell how much an upload is worth keeping: the highest rank is `find`'s choice.

    Args:
        upload: A file whose head has arrived.
        sources: Where the image is looked for.
        is_image: Tells from the first bytes whether an image begins there.
    """
    paths = [source.path for source in sources if source.kind == "files"]
    named = [at for at, path in enumerate(paths) if path in ((), (upload.field,))]
    return bool(named), is_image(upload.head), -min(named, default=0)
