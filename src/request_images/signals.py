"""The signals of this app. Receivers run when the row is committed.

They run in the thread that wrote it: the request's own, after the response, or the
background thread, or whoever writes what has waited in the spool folder.

A receiver that raises breaks nothing: the error is logged and the others still run.

`image_saved`
    An image was kept. Arguments: ``log`` (RequestLog), ``image`` (RequestImage),
    ``further`` (list of FurtherImage, in order, kept or not; empty unless the view
    keeps all images).
`image_skipped`
    A request was logged without its image. Arguments: ``log`` (RequestLog; its
    ``capture_status`` says why), ``image`` (RequestImage without content, or None),
    ``further`` (as above: one of these may have been kept all the same).
`capture_failed`
    A fault of ours: an image, or a whole request, could not be written. Arguments:
    ``log`` (RequestLog, or None when no row could be written), ``exception``. When
    only a further image could not be written, `image_saved` is sent as well.

The sender is the class ``RequestLog``.
"""

from django.dispatch import Signal

__all__ = ("capture_failed", "image_saved", "image_skipped")

image_saved: Signal = Signal()
image_skipped: Signal = Signal()
capture_failed: Signal = Signal()
