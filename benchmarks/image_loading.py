#!/usr/bin/env python3
"""Decoding, cropping, flipping and normalising image files: Ingot's loader against torchvision's faster way, each on one
thread, in turns. Counted is the processor's time, and ratios are of pairs, so that what else the machine does matters little.

    build/venv-torch/bin/python benchmarks/image_loading.py --images ../shared/data/bccd/JPEGImages
    ... --write        # the table of docs/images.md
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CASES = [("RandomResizedCrop(224), flip", 224, "crop"), ("RandomResizedCrop(64), flip", 64, "crop"),
         ("Resize(256), CenterCrop(224)", 224, "center")]


def peers(size, mode):
    """What turns a file into a sample: Pillow's images, as torchvision's users have it, and decoding to tensors, which is
    faster for some."""
    import torch
    from torchvision import io, transforms
    from torchvision.transforms import v2
    mean, stddev = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    crop, flip, resize = transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), size * 8 // 7
    pillow = [crop, flip] if mode == "crop" else [transforms.Resize(resize), transforms.CenterCrop(size)]
    pillow += [transforms.ToTensor(), transforms.Normalize(mean, stddev)]
    tensors = ([v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip()] if mode == "crop" else
               [v2.Resize(resize, antialias=True), v2.CenterCrop(size)])
    tensors += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, stddev)]
    return {"Pillow": (None, transforms.Compose(pillow)),
            "tensors": (lambda path: io.decode_image(io.read_file(path), io.ImageReadMode.RGB), v2.Compose(tensors))}


def torchvision_rate(folder, peer, seconds):
    """Images a second of this process's time: an ImageFolder, a loader without workers, batches of 32, channels-last."""
    import torch
    from torchvision import datasets
    torch.set_num_threads(1)
    read, transform = peer
    data = datasets.ImageFolder(folder, transform, **({"loader": read} if read else {}))
    loader = torch.utils.data.DataLoader(data, batch_size=32, shuffle=True, num_workers=0, drop_last=True)
    images, start = 0, None
    while True:
        for x, _ in loader:
            x = x.contiguous(memory_format=torch.channels_last)
            if start is None:
                start = time.process_time()
                continue
            images += len(x)
            if time.process_time() - start > seconds:
                return images / (time.process_time() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="a folder of JPEG files")
    parser.add_argument("--program", default=ROOT / "build/release/bin/image_loading")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--core", type=int, default=0, help="the core that both are bound to")
    parser.add_argument("--write", action="store_true", help="into docs/images.md")
    args = parser.parse_args()
    os.sched_setaffinity(0, {args.core})
    files = [f for f in sorted(pathlib.Path(args.images).iterdir()) if f.suffix.lower() in (".jpg", ".jpeg")]
    with tempfile.TemporaryDirectory() as folder:
        for split in ("train", "val"):
            for name in ("a", "b"):
                os.makedirs(f"{folder}/{split}/{name}")
        for i, f in enumerate(files):
            shutil.copy(f, f"{folder}/train/{'ab'[i % 2]}/")
        for name in ("a", "b"):
            shutil.copy(files[0], f"{folder}/val/{name}/")
        rows = []
        for title, size, mode in CASES:
            ways = peers(size, mode)
            ours, theirs = [], {name: [] for name in ways}
            for _ in range(args.rounds):
                done = subprocess.run([args.program, folder, str(size), str(args.seconds), "nhwc", mode], check=True,
                                      capture_output=True, text=True)
                ours.append(float(done.stdout))
                for name, peer in ways.items():
                    theirs[name].append(torchvision_rate(f"{folder}/train", peer, args.seconds))
            best = max(ways, key=lambda name: statistics.median(theirs[name]))
            ratios = [a / b for a, b in zip(ours, theirs[best])]
            rows.append(f"| {title} | {statistics.median(ours):,.0f} | " +
                        " | ".join(f"{statistics.median(theirs[name]):,.0f}" for name in ways) +
                        f" | **{statistics.median(ratios):.2f}x** ({min(ratios):.2f} to {max(ratios):.2f}) |")
            print(rows[-1], flush=True)
    if args.write:
        import PIL
        import torchvision
        page = ROOT / "docs/images.md"
        text = page.read_text()
        begin, end = "<!-- image_loading.py: begin -->\n", "<!-- image_loading.py: end -->"
        first, last = text.index(begin) + len(begin), text.index(end)
        table = ("| images a second of one core | Ingot | torchvision, Pillow | torchvision, tensors | Ingot / best |\n"
                 "|---|---|---|---|---|\n") 
        table += "\n".join(rows) + "\n\n"
        table += (f"{len(files)} JPEG files, batches of 32, f32, channels-last. torchvision {torchvision.__version__} with Pillow "
                  f"{PIL.__version__}. Median (range) of {args.rounds} pairs.\n")
        page.write_text(text[:first] + table + text[last:])


if __name__ == "__main__":
    main()
