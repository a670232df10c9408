"""Writes tests/golden/detection.json: which boxes torchvision keeps, and average precisions by pycocotools and by
Pascal VOC's rule, written out here after its devkit (VOCevaldet.m of 2010, corners as points).

    python tests/golden/make_detection_golden.py          # torchvision, pycocotools
"""

import contextlib
import io
import json
import pathlib

import numpy as np
import torch
import torchvision
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

HERE = pathlib.Path(__file__).resolve().parent
random = np.random.default_rng(7)


def boxes(count, spread):
    corner = random.uniform(0, spread, (count, 2))
    return np.round(np.concatenate([corner, corner + random.uniform(4, 40, (count, 2))], 1), 2).astype(np.float32)


def nms_case(name, count, spread, threshold, levels):
    at = boxes(count, spread)
    # Few levels, so that scores tie.
    scores = (random.integers(0, levels, count) / np.float32(levels)).astype(np.float32)
    labels = random.integers(0, 3, count)
    tensors = [torch.from_numpy(v) for v in (at, scores, labels)]
    return {"name": name, "threshold": threshold, "boxes": at.tolist(), "scores": scores.tolist(), "labels": labels.tolist(),
            "kept": torchvision.ops.nms(tensors[0], tensors[1], threshold).tolist(),
            "kept_by_label": torchvision.ops.boxes._batched_nms_vanilla(*tensors, threshold).tolist()}


def image(objects, classes):
    truth, found = boxes(objects, 120), []
    labels = random.integers(0, classes, objects)
    for box, label in zip(truth, labels):
        for _ in range(random.integers(0, 3)):  # missed, found, found twice; sometimes as another class
            other = random.integers(0, classes) if random.uniform() < 0.2 else label
            moved = np.round(box + random.normal(0, 3, 4), 2)
            moved[2:] = np.maximum(moved[2:], moved[:2] + 1)  # pycocotools leaves out boxes turned inside out
            found.append([*moved.tolist(), int(other), round(random.uniform(), 3)])
    for box in boxes(int(random.integers(0, 4)), 120):
        found.append([*box.tolist(), int(random.integers(0, classes)), round(0.7 * random.uniform(), 3)])
    return {"truth": [[*b.tolist(), int(c), False] for b, c in zip(truth, labels)], "found": found}


def iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def voc_precision(images, c, threshold):
    detections = sorted(((d[5], i, d) for i, im in enumerate(images) for d in im["found"] if d[4] == c), key=lambda x: -x[0])
    truth = [[t for t in im["truth"] if t[4] == c] for im in images]
    count = sum(not t[5] for ts in truth for t in ts)
    if count == 0:
        return None
    seen, right, wrong = set(), [], []
    for _, i, d in detections:
        overlaps = [iou(d, t) for t in truth[i]]
        best = int(np.argmax(overlaps)) if overlaps else -1
        tp = fp = 0
        if best >= 0 and overlaps[best] >= threshold:
            if not truth[i][best][5]:
                tp, fp = (0, 1) if (i, best) in seen else (1, 0)
                seen.add((i, best))
        else:
            fp = 1
        right.append(tp)
        wrong.append(fp)
    tp, fp = np.cumsum(right), np.cumsum(wrong)
    recall = np.concatenate([[0.0], tp / count, [1.0]])
    precision = np.concatenate([[0.0], tp / np.maximum(tp + fp, 1), [0.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.where(recall[1:] != recall[:-1])[0]
    return float(((recall[steps + 1] - recall[steps]) * precision[steps + 1]).sum())


def coco_precisions(images, classes):
    """[threshold][class] and the summary's AP."""
    wide = lambda b: [b[0], b[1], b[2] - b[0], b[3] - b[1]]
    truth = [(i, t) for i, im in enumerate(images) for t in im["truth"]]
    data = {"images": [{"id": i} for i in range(len(images))], "categories": [{"id": c, "name": str(c)} for c in range(classes)],
            "annotations": [{"id": k + 1, "image_id": i, "category_id": t[4], "bbox": wide(t), "iscrowd": 0,
                             "area": (t[2] - t[0]) * (t[3] - t[1])} for k, (i, t) in enumerate(truth)]}
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = data
        gt.createIndex()
        dt = gt.loadRes([{"image_id": i, "category_id": d[4], "bbox": wide(d), "score": d[5]}
                         for i, im in enumerate(images) for d in im["found"]])
        run = COCOeval(gt, dt, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    precision = run.eval["precision"][:, :, :, 0, 2]  # thresholds, recalls, classes
    return precision.mean(1).tolist(), float(run.stats[0])


def precision_case(name, count, objects, classes, difficult=False):
    images = [image(int(random.integers(0, objects)), classes) for _ in range(count)]
    case = {"name": name, "classes": classes, "images": images}
    if difficult:
        for im in images:
            for t in im["truth"]:
                t[5] = bool(random.uniform() < 0.4)
    else:
        case["coco"], case["coco_map"] = coco_precisions(images, classes)
    case["voc"] = [[voc_precision(images, c, threshold) for c in range(classes)] for threshold in (0.5, 0.75)]
    return case


def main():
    data = {"made_with": {"torchvision": torchvision.__version__},
            "nms": [nms_case("sparse", 20, 200, 0.5, 1000), nms_case("dense", 60, 60, 0.3, 1000),
                    nms_case("ties", 40, 60, 0.5, 4), nms_case("all", 12, 30, 1.0, 10), nms_case("none", 0, 30, 0.5, 10)],
            "precision": [precision_case("few", 4, 6, 2), precision_case("many", 30, 12, 3),
                          precision_case("difficult", 12, 10, 2, difficult=True)]}
    path = HERE / "detection.json"
    path.write_text(json.dumps(data) + "\n")
    print(f"{path.name}: {path.stat().st_size / 1000:.1f} kB")


if __name__ == "__main__":
    main()
