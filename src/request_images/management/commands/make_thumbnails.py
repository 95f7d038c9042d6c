"""``manage.py make_thumbnails``: draw thumbnails before anybody looks at them."""

from __future__ import annotations

from request_images.contents.thumbnails import THUMBNAIL
from request_images.management.base import DerivingCommand


class Command(DerivingCommand):
    """Draws thumbnails; the work is in `contents.thumbnails`."""

    help = (
        "Makes the thumbnails that do not exist yet, for the newest images first. "
        "Several of these commands, and cleanup_old_images, may run at the same time. "
        "For cron, use --verbosity 0."
    )
    what = THUMBNAIL
    summary = "Thumbnails: {made} made, {impossible} cannot be made, {skipped} skipped."
