"""Read the barcodes of an image: an API and a page."""

from dataclasses import asdict
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST

from request_images.decorators import capture_images
from request_images.outcome import annotate
from solver.barcodes import NotAnImage, TooManyPixels, read_barcodes
from solver.uploads import Refusal, size_limit, uploaded_image


@csrf_exempt  # an API without cookies needs no protection from CSRF
@require_POST
@capture_images(endpoint="solve")
def solve(request: HttpRequest) -> JsonResponse:
    """Return the barcodes of the image."""
    status, answer = _answer(request)
    return JsonResponse(answer, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
@capture_images(endpoint="upload-page")
def upload_page(request: HttpRequest) -> HttpResponse:
    """Show the form, and the answer if the form was sent without JavaScript."""
    status, answer = _answer(request) if request.method == "POST" else (200, None)
    context = {"answer": answer, "limit_mb": size_limit() / 1024 / 1024}
    return render(request, "solver/upload.html", context, status=status)


def _answer(request: HttpRequest) -> tuple[int, dict[str, Any]]:
    """Return status and body of the response, and annotate the request log."""
    try:
        reading = read_barcodes(uploaded_image(request))
    except Refusal as error:
        return _failed(request, error.status, error.error_type, str(error))
    except TooManyPixels as error:
        return _failed(request, 413, "too_many_pixels", str(error))
    except NotAnImage as error:
        return _failed(request, 400, "not_an_image", str(error))
    answer = asdict(reading)
    if not reading.barcodes:
        status, failure = _failed(request, 422, "no_barcode", "No barcode was found.")
        return status, failure | answer
    formats = sorted({barcode.format for barcode in reading.barcodes})
    annotate(request, formats=formats, barcode_count=len(reading.barcodes))
    return 200, answer


def _failed(
    request: HttpRequest, status: int, error_type: str, message: str
) -> tuple[int, dict[str, Any]]:
    annotate(request, error_type=error_type, error_message=message)
    return status, {"error": error_type, "message": message}
