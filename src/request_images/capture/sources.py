"""Sources: the places in a request where an image may be, and the choice among them.

A source is a short string::

    files           the first uploaded file that is an image
    files.photo     the file of the form field "photo"
    body            the raw body
    json            the first string in a JSON body that holds an image
    json.input.image    the string at that path ("json.images.0" for a list)
    json:/input/image   the same as a JSON pointer (RFC 6901), for keys with dots
    form            the first text field of a form that holds an image
    form.photo      the text field "photo"

If a view keeps all images, each source stands for several: ``files.photo`` for every
file of that field, ``json.images`` for every element of that list. Of JSON strings, the
outer ones come first for one image; several are taken in the order of the document.

Without a source, those are used that fit the declared type of the body; if there is no
image, those that fit its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import itemgetter

from request_images.exceptions import SourceError

from .payload import Payload, Upload
from .search import (
    Candidate,
    IsImage,
    Search,
    Source,
    fitting,
    note_fault,
    rate_head,
    report_fault,
)

SourceSpec = str | Sequence[str] | None

_MAX_NAMES = 3  # of what is elsewhere

KINDS = ("files", "body", "json", "form")

__all__ = ("Candidate", "Found", "Source", "SourceSpec", "find", "parse", "upload_rank")


@dataclass(frozen=True)
class Found:
    """The result of `find`.

    Attributes:
        candidates: The chosen candidates: first the request's image (the first that is
            an image, else the first candidate), then the others in order.
        count: Number of images in the request.
        left_out: Number of candidates over the limit.
        elsewhere: Other sources that have something, if those that were given have no
            image.
    """

    candidates: Sequence[Candidate] = ()
    count: int = 0
    left_out: int = 0
    elsewhere: Sequence[str] = ()


def parse(spec: SourceSpec) -> tuple[Source, ...]:
    """Parse a source, or several that are tried in order. None gives an empty tuple.

    Raises:
        SourceError: It is not a valid source; the text lists the valid ones.
    """
    if spec is None:
        return ()
    if not isinstance(spec, str):
        return tuple(source for item in spec for source in parse(item))
    if spec.startswith("json:/"):
        escaped = spec.removeprefix("json:/").split("/")
        keys = [key.replace("~1", "/").replace("~0", "~") for key in escaped]
        return (Source("json", tuple(keys)),)
    kind, *path = spec.split(".")
    # A field name may contain dots; a path in JSON is split at them.
    parts = path if kind == "json" else [".".join(path)] if path else []
    if kind not in KINDS or not all(parts) or (kind == "body" and parts):
        raise SourceError(
            f"{spec!r} is not a valid source. Write 'files', 'files.<field>', 'body', "
            "'json', 'json.<path>', 'json:/<pointer>', 'form' or 'form.<field>'."
        )
    return (Source(kind, tuple(parts)),)


def find(
    payload: Payload,
    sources: Sequence[Source],
    is_image: IsImage,
    limit: int | None = None,
) -> Found:
    """Find the images in the bytes seen of a request.

    Args:
        payload: The bytes.
        sources: Places to look, in order; empty for the one that fits.
        is_image: Tells from the first bytes whether they are an image.
        limit: How many candidates to choose, images first; None for one.
    """
    search = Search(payload, is_image, takes_all=limit is not None)
    if not sources:
        return _first_with_images(search, payload, is_image, limit)
    found = _find(search, sources, payload, is_image, limit)
    has_image = any(is_image(candidate.head) for candidate in found.candidates)
    if has_image or payload.failure is not None:
        return found
    other = _first_with_images(search, payload, is_image, limit=_MAX_NAMES)
    here = {candidate.source for candidate in found.candidates}
    names = dict.fromkeys(candidate.source for candidate in other.candidates)
    return replace(found, elsewhere=[name for name in names if name not in here])


def _first_with_images(
    search: Search, payload: Payload, is_image: IsImage, limit: int | None
) -> Found:
    """Return what the first fitting sources with an image have, or else the first."""
    first = None
    for sources in fitting(payload, is_image):
        found = _find(search, sources, payload, is_image, limit)
        if found.count:
            return found
        first = first or found
    return first or Found()


def _find(
    search: Search,
    sources: Sequence[Source],
    payload: Payload,
    is_image: IsImage,
    limit: int | None,
) -> Found:
    candidates: list[Iterable[Candidate]] = []
    counts: dict[str, int] = {}
    for source in sources:
        with note_fault(payload):
            found, counts[source.kind] = search.at(source)
            candidates.append(_until_fault(found, payload))
    count = sum(counts.values())
    # Lazily: each text is decoded when it is asked for, and one is mostly enough.
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


def _until_fault(
    candidates: Iterable[Candidate], payload: Payload
) -> Iterator[Candidate]:
    # Not within a context manager: it would meet the end of a generator that is left
    # early, and on Python 3.10 keep the view's exception, and with it the request.
    try:
        yield from candidates
    except Exception as exception:  # noqa: BLE001  # as above
        report_fault(payload, exception)


def _once(candidates: Iterable[Candidate], problem: str) -> Iterator[Candidate]:
    # Two sources may lead to the same place; a malformed form counts once.
    seen: set[tuple[str, tuple[int, ...]]] = set()
    for candidate in candidates:
        place = (candidate.source, candidate.number)
        if problem and candidate.problem == problem:
            place = ("", ())
        if place not in seen:
            seen.add(place)
            yield candidate


def _choose(
    candidates: Iterable[Candidate], is_image: IsImage, limit: int
) -> tuple[list[Candidate], int]:
    """Return the chosen candidates, and the number of the others."""
    images: list[tuple[int, Candidate]] = []
    others: list[tuple[int, Candidate]] = []
    left_out = 0
    for number, candidate in enumerate(candidates):
        kind = images if is_image(candidate.head) else others
        if len(kind) < limit:
            kind.append((number, candidate))
        else:
            left_out += 1
        if len(images) + len(others) > limit:  # never hold more
            (others or images).pop()
            left_out += 1
    first = (images or others)[:1]
    rest = sorted(images[1:] + others if images else others[1:], key=itemgetter(0))
    return [candidate for _, candidate in first + rest], left_out


def upload_rank(
    upload: Upload, sources: Sequence[Source], is_image: IsImage
) -> tuple[int, ...]:
    """Rate how much an upload is worth keeping; `find` chooses the highest rank."""
    paths = [source.path for source in sources if source.kind == "files"]
    named = [at for at, path in enumerate(paths) if path in ((), (upload.field,))]
    return bool(named), rate_head(upload.head, is_image), -min(named, default=0)
