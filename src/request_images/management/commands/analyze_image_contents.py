"""``manage.py analyze_image_contents``: tell what images look like in numbers."""

from __future__ import annotations

from request_images.contents.analysis import ANALYSIS
from request_images.management.base import MakingCommand


class Command(MakingCommand):
    """Says what was analysed; `request_images.analysing` does it."""

    help = (
        "Measures brightness, contrast, entropy, sharpness and layout of the images of "
        "which they are not known, or by an older version, the newest first. It may "
        "run beside another one and beside cleanup_old_images. Meant for cron, with "
        "--verbosity 0."
    )
    what = ANALYSIS
    said = (
        "Analysed {made} images; {impossible} cannot be analysed; {skipped} were "
        "skipped."
    )
