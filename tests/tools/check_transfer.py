#!/usr/bin/env python3
"""Fine-tuning through the program `ingot`: weights of another head, frozen layers, groups, and a run that is resumed.

    check_transfer.py --program build/release/bin/ingot [GROUP[.test]...]
"""

import json
import os
import signal
import struct
import subprocess
import sys
import time

import program_test
from program_test import Program, content, write


def read_tensors(path):
    """Name -> (dtype, shape, bytes) of a safetensors file, and its metadata."""
    with open(path, "rb") as f:
        raw = f.read()
    size = struct.unpack("<Q", raw[:8])[0]
    header, data = json.loads(raw[8:8 + size]), raw[8 + size:]
    metadata = header.pop("__metadata__", {})
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()}, metadata


def write_tensors(path, tensors):
    """As another program would: no checksum, no metadata."""
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    write(path, struct.pack("<Q", len(text)) + text + data)


class Transfer(Program):
    def pretrained(self, classes=7):
        """Weights for other classes, as of a file that torch wrote."""
        self.good(*self.train("--out", self.path("first"), model="simple_cnn"))
        tensors, _ = read_tensors(self.path("first") + "/weights.safetensors")
        for name in ("fc.weight", "fc.bias"):
            dtype, shape, data = tensors[name]
            tensors[name] = (dtype, [classes, *shape[1:]], data[:len(data) // 10 * classes])
        write_tensors(self.path("other.safetensors"), tensors)
        return self.path("other.safetensors"), tensors

    def test_what_is_frozen_stays_and_the_head_starts_anew(self):
        weights, tensors = self.pretrained()
        out = self.path("tuned")
        done = self.run_program(*self.train("--weights", weights, "--freeze", "conv1.*", "--freeze", "bn1.*",
                                            "--freeze-batch-norm", "--head-lr-scale", "10", "--param-group", "*.bias=2,0",
                                            "--out", out, model="simple_cnn"))
        self.assertEqual(done.returncode, 0, done.stderr)
        error = done.stderr.decode()
        for text in ("2 of another shape or type (fc.", "expected f32[10, ", "found f32[7, ", "starts anew"):
            self.assertIn(text, error)
        tuned, _ = read_tensors(out + "/weights.safetensors")
        for name, tensor in tensors.items():
            same = tuned[name] == tensor
            self.assertEqual(same, name.startswith(("conv1.", "bn1.")), name)

    def test_the_backbone_alone_or_all_but_the_head(self):
        weights, tensors = self.pretrained()
        out = self.path("probe")
        self.good(*self.train("--weights", weights, "--freeze-backbone", "--freeze-batch-norm", "--out", out,
                              model="simple_cnn"))
        tuned, _ = read_tensors(out + "/weights.safetensors")
        self.assertEqual({name for name in tensors if tuned[name] != tensors[name]}, {"fc.weight", "fc.bias"})
        self.assertEqual({name for name in read_tensors(out + "/last.safetensors")[0] if name.endswith("/momentum")},
                         {"optim/fc.weight/momentum", "optim/fc.bias/momentum"})

    def test_weights_that_do_not_fit_are_refused_unless_told(self):
        weights, tensors = self.pretrained()
        self.bad(*self.train("--init", weights, model="simple_cnn"), says=["2 of another shape", "fc.bias"])
        del tensors["conv2.weight"]
        tensors["neck.weight"] = tensors.pop("bn3.weight")
        write_tensors(weights, tensors)
        error = self.bad(*self.train("--weights", weights, model="simple_cnn"),
                         says=["2 missing (conv2.weight, bn3.weight)", "1 unexpected (neck.weight)", "--partial-weights"])
        self.assertNotIn("fc.", error)
        out = self.path("part")
        done = self.run_program(*self.train("--weights", weights, "--partial-weights", "--freeze", "conv1.*", "--out", out,
                                            model="simple_cnn"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("2 missing (conv2.weight, bn3.weight)", done.stderr.decode())
        self.assertEqual(read_tensors(out + "/weights.safetensors")[0]["conv1.weight"], tensors["conv1.weight"])

    def test_bad_arguments(self):
        def bad(*args, says):
            self.bad(*self.train(*args, model="simple_cnn"), says=says)
        bad("--freeze", "layer1.*", says=["no parameter matches 'layer1.*'", "conv1.weight"])
        bad("--freeze-batch-norm", says="--freeze or --freeze-backbone")
        bad("--partial-weights", says="--weights")
        bad("--head-lr-scale", "0", says="greater than 0")
        for group in ("fc.*", "=1", "fc.*=", "fc.*=-1", "fc.*=1,", "fc.*=1,x", "fc.*=a", "fc.*=inf"):
            bad("--param-group", group, says=["PATTERN=FACTOR", f"'{group}'"])
        bad("--param-group", "fx.*=1", says="no parameter matches the group 'fx.*'")
        bad("--mean", "0.5", says="go together")

    def test_a_resumed_run_ends_with_the_same_bits(self):
        weights, _ = self.pretrained()
        how = ["--weights", weights, "--freeze", "conv1.*", "--head-lr-scale", "3", "--optimizer", "adamw",
               "--mean", "0.3", "--stddev", "0.2", "--schedule", "constant"]
        self.good(*self.train(*how, "--out", self.path("whole"), model="simple_cnn", epochs=2))
        # A run of two epochs that was killed in its first: its checkpoint every few steps is what is left.
        out = self.path("parts")
        args = self.train(*how, "--out", out, "--checkpoint-every", "2", model="simple_cnn", epochs=2)
        run = subprocess.Popen([program_test.PROGRAM, *args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while run.poll() is None and not os.path.exists(out + "/last.safetensors"):
            time.sleep(0.002)
        run.send_signal(signal.SIGKILL)
        run.wait()
        other = self.run_program(*[("4" if a == "3" else a) for a in args], "--resume")
        self.assertEqual(other.returncode, 1)
        self.assertIn("was started with head_lr_scale = \"3\", now it is \"4\"", other.stderr.decode())
        self.good(*args, "--resume")
        self.assertEqual(content(self.path("whole"))["weights.safetensors"], content(out)["weights.safetensors"])


if __name__ == "__main__":
    sys.exit(program_test.main(__name__))
