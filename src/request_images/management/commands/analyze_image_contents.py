"""``manage.py analyze_image_contents``: measure what images look like."""

from __future__ import annotations

from request_images.contents.analysis import ANALYSIS
from request_images.management.base import DerivingCommand


class Command(DerivingCommand):
    """Measures how images look; the work is in `contents.analysis`."""

    help = (
        "Measures brightness, contrast, entropy and sharpness of images, and computes "
        "their perceptual hash. It processes the images that were not measured yet, or "
        "by an older version, the newest first. Several of these commands, and "
        "cleanup_old_images, may run at the same time. For cron, use --verbosity 0."
    )
    what = ANALYSIS
    summary = (
        "Images: {made} analysed, {impossible} cannot be analysed, {skipped} skipped."
    )
