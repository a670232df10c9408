"""The program `ingot` on tables of texts: training, evaluation and prediction by the file of weights alone, and what it says
to bad rows.

    python tests/tools/check_text.py --program build/release/bin/ingot [GROUP[.test]...]
"""

import json
import os
import random
import sys

import program_test
from program_test import Program, content, write

MOODS = {"glad": ["great", "happy", "thanks"], "sad": ["awful", "crying", "lost"], "calm": ["quiet", "slow", "fine"]}
FILLER = ["the", "a", "day", "was", "I", "it's", "really", "so", "\U0001F600", "n\u00e4ht"]


def rows(count, seed=1):
    """A text of up to nine words and its mood, which one of its words tells."""
    rng = random.Random(seed)
    out = []
    for _ in range(count):
        mood = rng.choice(sorted(MOODS))
        words = [rng.choice(FILLER) for _ in range(rng.randrange(8))]
        words.insert(rng.randrange(len(words) + 1), rng.choice(MOODS[mood]).capitalize())
        out.append((" ".join(words), mood))
    return out


def table(path, lines, divider="\t"):
    write(path, "".join(divider.join(line) + "\n" for line in lines).encode())


class Text(Program):
    def folder(self):
        folder = self.path("moods")
        if not os.path.exists(folder):
            os.makedirs(folder)
            table(folder + "/train.tsv", rows(300) + [("both happy and lost", "glad,sad")] * 3)
            table(folder + "/dev.tsv", rows(40, 2))
            table(folder + "/test.tsv", rows(60, 3))
        return folder

    def train_on(self, data, *args):
        given = {"--epochs": "4", "--batch-size": "32", "--optimizer": "adam", "--lr": "0.003", "--sequence-length": "12", "--threads": "1"}
        return ["train", "text_cnn", "--data", data, *(x for k, v in given.items() if k not in args for x in (k, v)), *args]

    def test_a_table_trains_and_texts_are_predicted_by_the_file_alone(self):
        folder, out = self.folder(), self.path("run")
        done = self.run_program(*self.train_on(folder + "/train.tsv", "--out", out, "--json"))
        self.assertEqual(done.returncode, 0, done.stderr)
        said = done.stderr.decode()
        self.assertIn("300 texts; 3 of 303 rows have several labels and are left out", said)
        result = json.loads(done.stdout)
        self.assertGreater(result["test_accuracy"], 0.95)
        self.assertGreater(result["test_macro_f1"], 0.95)
        self.assertEqual((result["several_labels"], result["truncated"]), (3, 0))
        weights = out + "/weights.safetensors"
        for data in (folder, folder + "/test.tsv"):
            found = json.loads(self.good("eval", weights, "--data", data, "--json"))
            self.assertEqual(found["texts"], 60)
            self.assertAlmostEqual(found["macro_f1"], result["test_macro_f1"])
            self.assertAlmostEqual(found["loss"], result["test_loss"], places=5)
        self.assertIn("macro F1 ", self.good("eval", weights, "--data", folder))
        text = self.good("predict", weights, "thanks, really", "I was crying", "x", "--top", "1").splitlines()
        self.assertTrue(text[0].startswith("thanks, really:  glad (0."), text)
        self.assertTrue(text[1].startswith("I was crying:  sad (0."), text)
        self.assertEqual(len(text), 3)
        found = json.loads(self.good("predict", weights, "QUIET day", "--json"))
        self.assertEqual(found[0]["text"], "QUIET day")
        self.assertEqual([c["name"] for c in found[0]["classes"]][0], "calm")
        self.assertEqual(len(found[0]["classes"]), 3)
        self.assertAlmostEqual(sum(c["probability"] for c in found[0]["classes"]), 1)
        with open(out + "/vocabulary.json", encoding="utf8") as f:
            vocabulary = json.load(f)
        self.assertEqual(vocabulary["tokens"][:2], ["<pad>", "<unk>"])
        self.assertIn("it's", vocabulary["tokens"])
        self.assertEqual(result["vocabulary"], len(vocabulary["tokens"]))

    def test_resumed_runs_end_with_the_same_bits(self):
        folder, whole, parts = self.folder(), self.path("whole"), self.path("parts")
        self.good(*self.train_on(folder, "--out", whole))
        self.good(*self.train_on(folder, "--out", parts))
        os.remove(parts + "/weights.safetensors")
        self.good(*self.train_on(folder, "--out", parts, "--resume"))
        self.assertEqual(content(whole)["weights.safetensors"], content(parts)["weights.safetensors"])
        for option, value, says in (("--min-count", "60", "does not fit the model"), ("--tokens", "characters", "does not fit the model"),
                                    ("--sequence-length", "13", "--resume: the run")):
            done = self.run_program(*self.train_on(folder, "--out", parts, "--resume", option, value))
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(says, done.stderr.decode())

    def test_columns_characters_and_a_given_vocabulary(self):
        lines = [("id", "mood", "what")] + [(str(i), mood, f'"{text}, ""said"""') for i, (text, mood) in enumerate(rows(300))]
        table(self.path("all.csv"), lines, ",")
        out = self.path("run")
        columns = ["--text-column", "3", "--label-column", "2", "--header"]
        self.good(*self.train_on(self.path("all.csv"), *columns, "--tokens", "characters", "--keep-case", "--out", out, "--epochs", "1"))
        with open(out + "/vocabulary.json", encoding="utf8") as f:
            vocabulary = json.load(f)
        self.assertEqual((vocabulary["tokens_are"], vocabulary["lower_case"]), ("characters", False))
        self.assertIn(" ", vocabulary["tokens"])
        self.assertIn("calm (0.", self.good("predict", out + "/weights.safetensors", "any"))
        again = self.path("again")
        self.good(*self.train_on(self.path("all.csv"), *columns, "--vocabulary", out + "/vocabulary.json", "--out", again, "--epochs", "1"))
        self.assertEqual(content(out)["vocabulary.json"], content(again)["vocabulary.json"])
        self.assertEqual(content(out)["weights.safetensors"], content(again)["weights.safetensors"])
        # The file of weights knows the columns.
        self.good("eval", out + "/weights.safetensors", "--data", self.path("all.csv"))

    def test_long_texts_are_cut_and_counted(self):
        done = self.run_program(*self.train_on(self.folder(), "--sequence-length", "5", "--epochs", "1", "--json"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("are longer than 5 tokens and are cut", done.stderr.decode())
        self.assertGreater(json.loads(done.stdout)["truncated"], 10)

    def test_bad_tables_are_refused_by_file_and_line(self):
        folder = self.path("bad")
        os.makedirs(folder)
        good = b"happy day\tglad\nlost day\tsad\n"
        for name, text, says in (("empty", b"", ["is empty"]),
                                 ("one_character", b"x", ["line 1", "2 columns", "found 1"]),
                                 ("no_text", good + b"\tsad\n", ["line 3", "the text is empty"]),
                                 ("columns", good + b"alone\n", ["line 3", "found 1", "tabs"]),
                                 ("utf8", good + b"caf\xe9\tsad\n", ["line 3, byte 4", "0xE9", "UTF-8"]),
                                 ("label", good + b"day\t\n", ["line 3", "label"]),
                                 ("several", b"day\tglad,sad\n", ["exactly one label"]),
                                 ("range", b"day\t0\nday\t1\nday\t700\n", ["line 3", "700", "out of range"])):
            path = f"{folder}/{name}.tsv"
            write(path, text)
            self.bad(*self.train_on(path), says=[path, *says])
        few = folder + "/few.tsv"
        write(few, good)
        self.bad(*self.train_on(few, "--test-share", "0.000001"), says=[few, "2 rows with one label", "test.tsv"])
        self.bad(*self.train_on(few, "--min-count", "9"), says=[few, "9 times"])
        self.bad(*self.train_on(folder + "/none.tsv"), says="none.tsv")
        self.bad(*self.train_on(folder), says=["text_cnn takes texts", "train.tsv"])
        self.bad("train", "lenet5", "--data", few, says=["lenet5 takes images", "text_cnn"])
        self.bad("train", "text_cnn", says=["text_cnn takes texts", "fashion-mnist"])
        self.bad(*self.train_on(self.folder(), "--image-size", "8"), says=["takes texts", "image size"])
        self.bad(*self.train_on(self.folder(), "--sequence-length", "4"), says=["at least 5", "got 4"])
        write(self.path("v.json"), b"{}")
        self.bad(*self.train_on(self.folder(), "--vocabulary", self.path("v.json")), says=["v.json", "vocabulary"])

    def test_checkpoints_say_what_they_take(self):
        out = self.path("run")
        self.good(*self.train_on(self.folder(), "--epochs", "1", "--out", out))
        weights = out + "/weights.safetensors"
        self.bad("predict", weights, "", says=["text 1", "is empty"])
        self.bad("predict", weights, "fine", b"caf\xe9", says=["text 2, byte 4", "UTF-8"])
        self.bad("explain", weights, "cat.jpg", "--out", self.path("why.png"), says=["texts", "no images"])
        self.bad("eval", weights, says=["fashion-mnist"])
        table(self.path("other.tsv"), [("fine", "glad"), ("fine", "furious")])
        self.bad("eval", weights, "--data", self.path("other.tsv"), says=["other.tsv', line 2", "furious", "weights"])

    def test_plans_and_lists(self):
        plan = json.loads(self.good("plan", "text_cnn", "--sequence-length", "16", "--vocabulary-size", "500", "--batch-size", "4", "--json"))
        self.check_prediction(plan)
        listed = {m["name"]: m for m in json.loads(self.good("info", "models", "--json"))}
        self.assertEqual(listed["text_cnn"]["sequence_length"], 64)
        self.assertIn("text_cnn", self.good("info", "models"))
        self.good("bench", "text_cnn", "--vocabulary-size", "500", "--batch-size", "2", "--seconds", "0.01", "--warmup", "0")
        self.bad("plan", "lenet5", "--sequence-length", "9", says="takes images")


if __name__ == "__main__":
    sys.exit(program_test.main(__name__))
