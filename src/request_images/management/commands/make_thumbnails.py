"""``manage.py make_thumbnails``: make thumbnails before anybody looks at them."""

from __future__ import annotations

from request_images.contents.thumbnails import THUMBNAIL
from request_images.management.base import MakingCommand


class Command(MakingCommand):
    """Says what was made; `request_images.contents.derive` makes it."""

    help = (
        "Makes the thumbnails that nobody has looked at yet, the newest first. It may "
        "run beside another one and beside cleanup_old_images. Meant for cron, with "
        "--verbosity 0."
    )
    what = THUMBNAIL
    said = (
        "Made {made} thumbnails; {impossible} cannot be made; {skipped} were skipped."
    )
