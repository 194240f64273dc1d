"""The recorder starts when torch has been executed, however it is imported, and leaves no trace of waiting for it."""

import json
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

import gradaudit
from gradaudit.reading.run import load
from gradaudit.record import imports
from tests.record.training import record, script

BOOT = Path(gradaudit.__file__).parent / "record" / "boot"

# Each line is one way to import a package called torch, which takes milliseconds. `starts` counts the recorders.
WAYS = {
    "plainly": "import torch",
    "after find_spec": "importlib.util.find_spec('torch'); import torch",
    "after many find_spec": "[importlib.util.find_spec('torch') for _ in range(3)]; import torch",
    "after an unused module": "importlib.util.module_from_spec(importlib.util.find_spec('torch')); import torch",
    "by a submodule": "import torch.nn.functional",
    "by its compiled part": "import torch._C",
    "from it": "from torch import nn",
    "by import_module": "importlib.import_module('torch')",
    "from its spec": """
        spec = importlib.util.find_spec('torch'); torch = importlib.util.module_from_spec(spec)
        sys.modules['torch'] = torch; spec.loader.exec_module(torch)
    """,
    "lazily": """
        spec = importlib.util.find_spec('torch'); spec.loader = importlib.util.LazyLoader(spec.loader)
        torch = importlib.util.module_from_spec(spec); sys.modules['torch'] = torch; spec.loader.exec_module(torch)
        import json.tool
        assert not starts()
        torch.ready
    """,
    "by load_module": """
        import warnings; warnings.simplefilter('ignore')
        importlib.util.find_spec('torch').loader.load_module('torch')
    """,
    "at the second attempt": """
        os.environ['BROKEN'] = '1'
        try:
            import torch
        except ImportError as error:
            import traceback
            shown = ''.join(traceback.format_exception(error))
            assert 'gradaudit' not in shown and shown.count('File') == 2, shown
        else:
            raise AssertionError
        assert not starts()
        del os.environ['BROKEN']
        import torch
    """,
    "in a thread": """
        import threading
        threads = [threading.Thread(target=importlib.import_module, args=('torch',)) for _ in range(4)]
        [thread.start() for thread in threads]; [thread.join() for thread in threads]
    """,
    "twice": "import torch; importlib.reload(torch); importlib.reload(torch)",
    "anew": "import torch; del sys.modules['torch']; import torch",
    "after a finder that asks again": """
        class Again:
            asking = False
            @classmethod
            def find_spec(cls, name, path=None, target=None):
                if name != 'torch' or cls.asking:
                    return None
                cls.asking = True
                try:
                    return importlib.util.find_spec(name)
                finally:
                    cls.asking = False
        sys.meta_path.insert(POSITION, Again)
        import torch
    """,
    "after a finder of its own": """
        class Own:
            @staticmethod
            def find_spec(name, path=None, target=None):
                return importlib.machinery.PathFinder.find_spec(name, path) if name == 'torch' else None
        sys.meta_path.insert(POSITION, Own)
        import torch
    """,
    "by a loader of the old kind": """
        class Old:
            @staticmethod
            def load_module(name):
                spec = importlib.machinery.PathFinder.find_spec(name)
                module = importlib.util.module_from_spec(spec); sys.modules[name] = module
                spec.loader.exec_module(module)
                return module
        class Finder:
            @staticmethod
            def find_spec(name, path=None, target=None):
                return importlib.machinery.ModuleSpec(name, Old, is_package=True) if name == 'torch' else None
        sys.meta_path.insert(sys.meta_path.index(importlib.machinery.PathFinder), Finder)
        import warnings; warnings.simplefilter('ignore')
        import torch
    """,
    "with the finders in another order": "sys.meta_path[:3] = reversed(sys.meta_path[:3]); import torch",
    "from a zip file": "sys.path.insert(0, ZIP); import torch",
    "after another module that was made by hand": """
        import types
        sys.modules['torch'] = types.ModuleType('torch'); import json.tool
        assert not starts()
        del sys.modules['torch']; import torch
    """,
}
PREPARED = """
    import importlib, importlib.machinery, importlib.util, os, sys
    import gradaudit.record.launch as launch
    made = []
    launch.begin = lambda: made.append(hasattr(sys.modules['torch'], 'ready'))
    def starts():
        return len(made)
"""
CHECKED = """
    import torch
    assert made == [True], made
    assert 'gradaudit' not in type(torch.__loader__).__module__ + type(torch.__spec__.loader).__module__
    assert type(torch.__spec__) is importlib.machinery.ModuleSpec
    assert type(torch.__spec__.loader) is type(torch.__loader__) or 'Lazy' in repr(torch.__spec__.loader)
    print('done')
"""


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    """A folder and a zip file that hold a package called torch."""
    folder = tmp_path_factory.mktemp("fake")
    package = script(folder, """
        import os
        from torch import _C, nn
        if os.environ.get("BROKEN"):
            raise ImportError("half of it")
        ready = True
    """, "torch/__init__.py")  # fmt: skip
    script(folder, "", "torch/_C.py")
    script(folder, "from torch.nn import functional", "torch/nn/__init__.py")
    script(folder, "", "torch/nn/functional.py")
    with zipfile.ZipFile(folder / "torch.zip", "w") as archive:
        for file in package.parent.rglob("*.py"):
            archive.write(file, file.relative_to(folder))
    return folder


def boot(folder, text, **environment):
    """Run `text` in an interpreter with our boot folder, as the command starts it."""
    path = f"{BOOT}:{folder}:{Path(gradaudit.__file__).parents[1]}"
    return subprocess.run(
        [sys.executable, "-c", text],
        env={"PYTHONPATH": path, "GRADAUDIT_RECORD": "{}", **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("way", "position"),
    [(way, position) for way, text in WAYS.items() for position in (0, 2)[: 1 + ("POSITION" in text)]],
)
def test_the_recorder_starts_once_after_torch(fake, way, position):
    text = textwrap.dedent(WAYS[way]).replace("POSITION", str(position)).replace("ZIP", repr(str(fake / "torch.zip")))
    done = boot(fake, textwrap.dedent(PREPARED) + text + textwrap.dedent(CHECKED))
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_a_spec_that_is_only_asked_for_passes_for_torchs_own(fake):
    text = """
        import importlib.machinery, importlib.util, inspect, sys
        spec = importlib.util.find_spec("torch")
        assert isinstance(spec.loader, importlib.machinery.SourceFileLoader), spec.loader
        assert spec.loader.get_filename("torch") == spec.origin
        assert "ready" in spec.loader.get_source("torch")
        assert importlib.util.find_spec("no_such_module") is None
        print(sys.path[0] + "|" + str("sitecustomize" in sys.modules))
    """
    done = boot(fake, textwrap.dedent(text))
    assert (done.stdout, done.stderr) == ("|False\n", "")


def test_torch_that_was_there_before_the_boot_folder_is_recorded(fake, tmp_path):
    """As a .pth file, which runs before sitecustomize, may import it."""
    script(tmp_path, f"""
        import runpy, sys
        import torch
        import gradaudit.record.launch as launch
        made = []
        launch.begin = lambda: made.append(1)
        sys.modules["sitecustomize"] = sys.modules["__main__"]
        runpy.run_path({str(BOOT / "sitecustomize.py")!r}, run_name="sitecustomize")
        print(made)
    """)  # fmt: skip
    done = boot(fake, (tmp_path / "train.py").read_text(), PYTHONPATH=f"{fake}:{Path(gradaudit.__file__).parents[1]}")
    assert (done.stdout, done.stderr) == ("[1]\n", "")


def test_torch_without_a_recorder_is_told_at_exit(fake):
    hidden = "import sys; sys.meta_path = sys.meta_path[1:]; import torch"
    (line,) = boot(fake, hidden).stderr.splitlines()
    assert line.startswith("gradaudit: nothing recorded: torch was imported")
    assert boot(fake, "import json").stderr == ""


def test_a_module_that_is_executed_again_calls_back_again(tmp_path, monkeypatch):
    """A framework's classes are new then, and as yet not adapted."""
    script(tmp_path, "made = object()", "watched_module.py")
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    finder = imports.Finder({"watched_module": lambda module: seen.append(module.made)})
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    import importlib

    module = importlib.import_module("watched_module")
    importlib.import_module("json.tool")
    importlib.reload(module)
    assert len(set(map(id, seen))) == len(seen) == 2
    assert json.dumps(type(module.__loader__).__name__) == '"SourceFileLoader"'


TRAIN = """
    import torch
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(30):
        torch.nn.functional.cross_entropy(model(torch.randn(8, 4)), torch.randint(0, 2, (8,))).backward()
        optimizer.step()
        optimizer.zero_grad()
"""


def test_a_script_that_looks_for_torch_first_is_recorded(tmp_path):
    """As importing datasets, transformers or accelerate does; then real torch, and a thread that imports it."""
    importing = """
        import importlib.util, threading
        assert importlib.util.find_spec("torch")
        thread = threading.Thread(target=__import__, args=("torch.nn.functional",))
        thread.start(); thread.join()
    """
    script(tmp_path, textwrap.dedent(importing) + textwrap.dedent(TRAIN))
    watched = record(tmp_path, "--every", "7", "-o", "run", "train.py")
    assert (watched.returncode, watched.stdout) == (0, "")
    assert watched.stderr == (
        "gradaudit: recorded 30 steps of 2 tensors, 5 of them with tensor statistics (--every 1 keeps them all); "
        "next: gradaudit analyze run\n"
    )
    run = load(tmp_path / "run")
    assert len(run.steps) == 30
    assert run.steps["recorded"].sum() == len(run.training(0).recorded) == 5
