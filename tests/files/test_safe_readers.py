"""The source reads files by safe readers only: whatever can run what a file holds is not called anywhere."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "lightning_realign"
# Call -> argument that has to be there, and its value.
NEEDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "np.lib.format.read_array": ("allow_pickle", False),
    "AutoTokenizer.from_pretrained": ("trust_remote_code", False),
    "model_class.from_pretrained": ("use_safetensors", True),
    "SentenceTransformer": ("trust_remote_code", False),
}
FORBIDDEN = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "yaml.unsafe_load_all"),
    *("torch.jit.load", "torch.hub.load", "torch.hub.load_state_dict_from_url", "torch.package.PackageImporter"),
    *("eval", "exec", "compile", "__import__", "joblib.load", "dill.load", "dill.loads", "cloudpickle.load"),
    *("pandas.read_pickle", "pd.read_pickle", "numpy.load", "lightning.LightningModule.load_from_checkpoint"),
}
# Unpicklers that look no name up: each module's is tested with hostile pickles.
UNPICKLERS = {"files/inert_pickle.py", "text/word_vectors.py"}


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {word.arg: word.value for word in node.keywords}


def problems(text):
    found = []
    for name, words in calls(ast.parse(text)):
        if name in FORBIDDEN or name.endswith(".load_from_checkpoint"):
            found.append(name)
        if name in NEEDED:
            argument, value = NEEDED[name]
            given = words.get(argument)
            if not isinstance(given, ast.Constant) or given.value is not value:
                found.append(f"{name} without {argument}={value}")
    return found


@pytest.mark.parametrize(
    "text",
    [
        *("torch.load(x)", "torch.load(x, weights_only=False)", "torch.load(x, weights_only=y)", "np.load(x)"),
        *("yaml.load(x)", "pickle.loads(x)", "eval(x)", "A.load_from_checkpoint(x)", "SentenceTransformer(x)"),
    ],
)
def test_the_search_finds_unsafe_calls(text):
    assert problems(text)


def test_every_file_is_read_safely():
    files = sorted(SOURCE.rglob("*.py"))
    found = {str(file.relative_to(SOURCE)): problems(file.read_text()) for file in files}
    assert {name: what for name, what in found.items() if what} == {}
    seen = {name for file in files for name, _ in calls(ast.parse(file.read_text()))}
    assert {"torch.load", "np.load", "yaml.safe_load"} <= seen, "the readers that the rules are about are found"


def test_unpicklers_are_the_tested_ones():
    found = {str(file.relative_to(SOURCE)) for file in SOURCE.rglob("*.py") if "pickle.Unpickler" in file.read_text()}
    assert found == UNPICKLERS
