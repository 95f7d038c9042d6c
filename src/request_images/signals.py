"""The signals of this app. Receivers run after the row is committed.

They run in the thread that wrote the row: the request's own thread after the response,
the background thread, or a thread that writes the requests of the spool folder.

If a receiver raises, the exception is logged and the other receivers still run.

`image_saved`
    An image was kept. Arguments: ``log`` (RequestLog), ``image`` (RequestImage),
    ``further`` (list of FurtherImage, in order, kept or not; empty unless the view
    keeps all images).
`image_skipped`
    A request was logged without its image. Arguments: ``log`` (RequestLog; its
    ``capture_status`` gives the reason), ``image`` (RequestImage without content, or
    None), ``further`` (as above; some of these images may be kept).
`capture_failed`
    An image, or a whole request, could not be written. Arguments: ``log`` (RequestLog,
    or None when no row could be written), ``exception``. When only a further image
    could not be written, `image_saved` is sent as well.

The sender is the class ``RequestLog``.
"""

from django.dispatch import Signal

__all__ = ("capture_failed", "image_saved", "image_skipped")

image_saved: Signal = Signal()
image_skipped: Signal = Signal()
capture_failed: Signal = Signal()
