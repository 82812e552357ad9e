"""The Dockerfiles name what is there, and the entry point does what the page of the images says."""

import fnmatch
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
INSTRUCTIONS = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "LABEL", "RUN", "USER", "WORKDIR"}
AVX2 = "flags : fpu sse4_2 avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
AVX512 = f"{AVX2} avx512f avx512bw avx512cd avx512dq avx512vl"
STRANGER = 4242
"""A uid that owns nothing, for the tests that run as root."""

Stage = list[tuple[str, str]]
each_dockerfile = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)


def instructions(path: Path) -> Stage:
    """Keywords and arguments, continued lines joined, comments left out."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    split = (line.partition(" ") for line in joined.splitlines() if line)
    return [(word, rest.strip()) for word, _, rest in split]


def stages(path: Path) -> list[Stage]:
    """The instructions of each stage, from its FROM on; what stands before the first is left out."""
    found: list[Stage] = []
    for word, rest in instructions(path):
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append((word, rest))
    return found


def named(path: Path, keyword: str) -> list[str]:
    return [rest for word, rest in instructions(path) if word == keyword]


def settings(path: Path) -> dict[str, str]:
    """All environment variables that are set."""
    return dict(pair.split("=", 1) for rest in named(path, "ENV") for pair in shlex.split(rest))


def is_ignored(name: str) -> bool:
    """Whether .dockerignore leaves out a file, or a folder above it."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().split("\n") if line and line[0] != "#"]
    anywhere = [pattern.removeprefix("**/") for pattern in patterns if pattern.startswith("**/")]
    parts = Path(name).parts
    parents = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    return any(fnmatch.fnmatch(part, pattern) for pattern in anywhere for part in parts) or any(
        fnmatch.fnmatch(parent, pattern) for pattern in patterns for parent in parents
    )


def test_there_is_an_image_for_each_device() -> None:
    assert [path.name for path in DOCKERFILES] == ["cpu.Dockerfile", "cuda.Dockerfile"]


@each_dockerfile
def test_only_known_instructions(path) -> None:
    assert {word for word, _ in instructions(path)} <= INSTRUCTIONS


@each_dockerfile
def test_bases_are_pinned_by_digest_and_stages_exist(path) -> None:
    arguments = dict(rest.split("=", 1) for rest in named(path, "ARG") if "=" in rest)
    known: set[str] = set()
    for rest in named(path, "FROM"):
        image, _, name = rest.partition(" AS ")
        if image.startswith("${"):
            assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", arguments[image[2:-1]])
        else:
            assert image in known
        known.add(name)
    for rest in named(path, "COPY"):
        if rest.startswith("--from="):
            assert rest.split()[0].removeprefix("--from=") in known


@each_dockerfile
def test_copied_files_exist_and_are_not_ignored(path) -> None:
    sources = [
        source
        for rest in named(path, "COPY")
        if not rest.startswith("--from=")
        for source in rest.split()[:-1]
        if source != "."
    ]
    assert "constraints.txt" in sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not is_ignored(source.rstrip("/")), source


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mfenvs/engine/engine.py", False),
        ("mfenvs/checks.py", False),
        ("tests/docker/test_images.py", False),
        ("docker/entrypoint.sh", False),
        ("benchmarks/results/speed.json", False),
        ("Makefile", False),
        (".git/HEAD", True),
        (".venv/bin/python", True),
        ("runs/a/config.json", True),
        ("mfenvs/engine/__pycache__/cpu.pyc", True),
        ("mfenvs.egg-info/PKG-INFO", True),
    ],
)
def test_what_is_left_out_of_the_images(name, expected) -> None:
    assert is_ignored(name) == expected


@each_dockerfile
def test_constraints_are_used_in_every_installation(path) -> None:
    commands = [part.strip() for rest in named(path, "RUN") for part in rest.split("&&")]
    installations = [command for command in commands if re.search(r"\bpip3? install\b", command)]
    assert installations
    for command in installations:
        assert "--constraint constraints.txt" in command, command
    assert settings(path)["PIP_NO_CACHE_DIR"] == "1"


@each_dockerfile
def test_the_last_stage_installs_nothing_and_is_not_root(path) -> None:
    last = stages(path)[-1]
    assert [word for word, _ in last if word == "RUN"] == []
    assert [rest for word, rest in last if word == "USER"] == ["10001:10001"]
    assert ("ENV", "PYTHONDONTWRITEBYTECODE=1") in last
    assert not re.search(r"\b(gcc|g\+\+|build-essential|make|git)\b", " ".join(named(path, "RUN")))


@each_dockerfile
def test_the_entry_point_and_the_labels(path) -> None:
    assert named(path, "ENTRYPOINT") == ['["/bin/bash", "/opt/mfenvs/docker/entrypoint.sh"]']
    assert "/opt/mfenvs" in named(path, "WORKDIR")
    labels = dict(pair.split("=", 1) for rest in named(path, "LABEL") for pair in shlex.split(rest))
    names = {"title", "description", "licenses", "version", "revision", "created"}
    assert labels.keys() == {f"org.opencontainers.image.{name}" for name in names}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"VERSION={project['version']}" in named(path, "ARG")
    assert labels["org.opencontainers.image.licenses"] == project["license"]
    assert next(rest for rest in named(path, "ARG") if rest.startswith("EXTRAS=")) == "EXTRAS=test"
    assert "test" in project["optional-dependencies"]


def test_the_images_differ_only_in_what_cuda_needs() -> None:
    cpu, cuda = (settings(path) for path in DOCKERFILES)
    assert {name: value for name, value in cuda.items() if name in cpu} == cpu
    assert cuda.keys() - cpu.keys() == {"LANG", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_VISIBLE_DEVICES"}
    assert cpu["NUMBA_CACHE_DIR"].startswith("/opt/cache/")
    # Whoever does not come through the entry point compiles for the CPU at hand, which always runs.
    assert "NUMBA_CPU_NAME" not in cpu


def test_cuda_of_the_base_is_torchs() -> None:
    arguments = " ".join(named(ROOT / "docker" / "cuda.Dockerfile", "ARG"))
    assert re.search(r"CUDA_IMAGE=nvidia/cuda:13\.0\.\d+-base-", arguments)
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().split("\n")  # CUDA 13.0


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
@each_dockerfile
def test_hadolint_finds_nothing(path) -> None:
    done = subprocess.run(["hadolint", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


RECORDER = """#!/bin/bash
[[ "$*" == "-m pytest --version" ]] && exit ${PYTEST_STATUS:-0}
printf '%s\\0' "${0##*/}" "$@" > "$RECORD/command"
env -0 > "$RECORD/environment"
pwd > "$RECORD/folder"
exit ${STATUS:-0}
"""
WRITER = f'{RECORDER.rsplit("exit", 1)[0]}touch "$NUMBA_CACHE_DIR/engine/new.nbc" "$HOME/x"\n'
"""The same, but it writes a kernel, and to its home."""


class Image:
    """A folder laid out like an image, with commands that record how they are called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("bin", "docker", "home", "kernels/engine", "fonts", "out", "record", "tmp"):
            (folder / name).mkdir(parents=True)
        for name in ("cpu.sh", "entrypoint.sh", "warm.sh"):
            shutil.copy(ROOT / "docker" / name, folder / "docker")
        (folder / "kernels" / "engine" / "step.nbc").write_text("code")
        (folder / "kernels" / "cpus").write_text("x86-64-v4\nx86-64-v3\n")
        self.command("grep", '#!/bin/bash\necho "$FLAGS"\n')
        for name in ("bash", "mfenvs", "python"):
            self.command(name, RECORDER)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o777)

    def command(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def run(
        self, *words: str, script: str = "entrypoint.sh", **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        environment = {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.folder / "home"),
            "MFENVS_OUT": str(self.folder / "out"),
            "MPLCONFIGDIR": str(self.folder / "fonts"),
            "NUMBA_CACHE_DIR": str(self.folder / "kernels"),
            "FLAGS": AVX2,
            "RECORD": str(self.folder / "record"),
            "TMPDIR": str(self.folder / "tmp"),
        }
        # Root may write anywhere: be somebody else.
        who = {"user": STRANGER, "group": STRANGER, "extra_groups": []} if os.getuid() == 0 else {}
        return subprocess.run(
            ["/bin/bash", str(self.folder / "docker" / script), *words],
            env=environment | variables,
            cwd=self.folder / "out",
            capture_output=True,
            text=True,
            check=False,
            **who,
        )

    def make_read_only(self, *names: str) -> None:
        for name in names:
            for path in [self.folder / name, *(self.folder / name).rglob("*")]:
                path.chmod(0o555)

    @property
    def called(self) -> list[str] | None:
        """The command that was run last, and its arguments."""
        path = self.folder / "record" / "command"
        return path.read_text().split("\0")[:-1] if path.exists() else None

    @property
    def environment(self) -> dict[str, str]:
        text = (self.folder / "record" / "environment").read_text()
        return dict(pair.split("=", 1) for pair in text.split("\0")[:-1])

    @property
    def working_folder(self) -> str:
        return (self.folder / "record" / "folder").read_text().strip()


@pytest.fixture
def image():
    # Not below pytest's folder, which nobody else may enter.
    folder = Path(tempfile.mkdtemp(prefix="image-")).resolve()
    try:
        found = Image(folder)
        if not os.access(folder / "bin" / "python", os.X_OK):
            pytest.skip(f"programs in {folder.parent} cannot be run")  # as in /dev/shm of a container
        yield found
    finally:
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(path.stat().st_mode | stat.S_IWUSR)
        shutil.rmtree(folder)


def recipe(target: str) -> tuple[dict[str, str], list[str]]:
    """The environment and the command of a target of the Makefile."""
    text = (ROOT / "Makefile").read_text()
    variables = dict(re.findall(r"^(\w+) [:?]?= (.*)$", text, re.MULTILINE))
    line = re.search(rf"^{target}:.*\n\t(.*)$", text, re.MULTILINE).group(1).replace("$(BIN)/", "")
    words = shlex.split(re.sub(r"\$\((\w+)\)", lambda match: variables[match.group(1)], line))
    n = next(i for i, word in enumerate(words) if "=" not in word)
    return dict(word.split("=", 1) for word in words[:n]), words[n:]


def test_demo_is_that_of_the_makefile(image) -> None:
    done = image.run("demo", "--seeds", "1")
    assert done.returncode == 0, done.stderr
    environment, command = recipe("demo")
    assert image.called == [*command, "--out", f"{image.folder}/out/asymmetric-games", "--seeds", "1"]
    assert environment.items() <= image.environment.items()
    assert image.working_folder == str(image.folder)


def test_test_is_that_of_the_makefile(image) -> None:
    done = image.run("test", "tests/engine", "-k", "a or b")
    assert done.returncode == 0, done.stderr
    environment, command = recipe("test")
    assert image.called == [*command, "-p", "no:cacheprovider", "tests/engine", "-k", "a or b"]
    # Nothing can be kept in an image.
    assert environment.pop("PYTHONDONTWRITEBYTECODE") == ""
    assert environment.items() <= image.environment.items()
    assert image.working_folder == str(image.folder)


def test_an_image_without_tests_says_so(image) -> None:
    done = image.run("test", PYTEST_STATUS="1")
    assert done.returncode == 69
    assert "build it with EXTRAS=test" in done.stderr
    assert image.called is None


@pytest.mark.parametrize("command", ["bash", "mfenvs", "python"])
def test_other_commands_are_passed_on(image, command) -> None:
    done = image.run(command, "-c", "two words", "", STATUS="7")
    assert done.returncode == 7
    assert image.called == [command, "-c", "two words", ""]
    assert image.working_folder == f"{image.folder}/out"


@pytest.mark.parametrize("words", [(), ("help",), ("--help",), ("-h",)])
def test_help(image, words) -> None:
    done = image.run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    for command in ("demo", "test", "bash", "mfenvs", "python", "help"):
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE)
    assert image.called is None


@pytest.mark.parametrize("word", ["ls", "demos", "", "/bin/sh", "*"])
def test_unknown_commands_are_refused(image, word) -> None:
    done = image.run(word, "demo")
    assert done.returncode == 64
    assert done.stdout == ""
    assert f"unknown command '{word}'" in done.stderr
    assert "usage: docker run IMAGE" in done.stderr
    assert image.called is None


def test_demo_needs_a_folder_for_its_results(image) -> None:
    for out in (image.folder / "out", image.folder / "nowhere"):
        image.make_read_only("out")
        done = image.run("demo", MFENVS_OUT=str(out))
        assert done.returncode == 73
        assert f"{out} cannot be written to by uid" in done.stderr
        assert image.called is None


def test_folders_that_can_be_written_to_are_used(image) -> None:
    image.run("mfenvs")
    assert image.environment["NUMBA_CACHE_DIR"] == f"{image.folder}/kernels"
    assert image.environment["MPLCONFIGDIR"] == f"{image.folder}/fonts"
    assert image.environment["HOME"] == f"{image.folder}/home"
    assert image.environment["TMPDIR"] == f"{image.folder}/tmp"
    assert list((image.folder / "tmp").iterdir()) == []


def test_kernels_of_a_read_only_image_are_found_and_new_ones_kept(image) -> None:
    image.make_read_only("kernels", "fonts", "home")
    image.command("mfenvs", WRITER)
    done = image.run("mfenvs", "list")
    assert (done.returncode, done.stderr) == (0, "")
    for name, original in (("NUMBA_CACHE_DIR", "kernels"), ("MPLCONFIGDIR", "fonts"), ("HOME", "home")):
        assert image.environment[name].startswith(f"{image.folder}/tmp/")
        assert image.environment[name] != str(image.folder / original)
    copy = Path(image.environment["NUMBA_CACHE_DIR"]) / "engine"
    assert (copy / "step.nbc").read_text() == "code"
    assert sorted(path.name for path in copy.iterdir()) == ["new.nbc", "step.nbc"]
    assert [path.name for path in (image.folder / "kernels" / "engine").iterdir()] == ["step.nbc"]


def test_a_read_only_image_without_a_tmp_uses_shared_memory(image) -> None:
    image.make_read_only("kernels", "tmp")
    # Of the folders that it tries, only this one is let through.
    image.command("mktemp", '#!/bin/bash\n[[ $2 == "$ALLOWED"/* ]] && exec /usr/bin/mktemp "$@"\nexit 1\n')
    (image.folder / "shm").mkdir(mode=0o777)
    text = (image.folder / "docker" / "entrypoint.sh").read_text()
    assert text.count("/dev/shm") == 1
    (image.folder / "docker" / "entrypoint.sh").write_text(text.replace("/dev/shm", f"{image.folder}/shm"))
    (image.folder / "shm").chmod(0o777)
    done = image.run("mfenvs", ALLOWED=f"{image.folder}/shm")
    assert (done.returncode, done.stderr) == (0, "")
    assert image.environment["TMPDIR"] == f"{image.folder}/shm"
    assert image.environment["NUMBA_CACHE_DIR"].startswith(f"{image.folder}/shm/")
    refused = image.run("mfenvs", ALLOWED="nowhere")
    assert refused.returncode == 73
    assert "--tmpfs /tmp" in refused.stderr


def flags_but(missing: str | None) -> str:
    """The flags of a CPU with AVX-512, but one."""
    return " ".join(word for word in AVX512.split() if word != missing)


@pytest.mark.parametrize("missing", [None, *AVX512.split()[4:]])
def test_the_best_kernels_that_the_cpu_runs_are_chosen(image, missing) -> None:
    done = image.run("mfenvs", FLAGS=flags_but(missing))
    assert done.returncode == 0
    if missing is None or missing.startswith("avx512"):
        assert done.stderr == ""
        assert image.environment["NUMBA_CPU_NAME"] == ("x86-64-v3" if missing else "x86-64-v4")
        assert image.environment["NUMBA_CPU_FEATURES"] == ""
    else:
        assert "the image has no kernels for this CPU" in done.stderr
        assert not {"NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"} & image.environment.keys()


def test_kernels_that_the_image_does_not_have_are_not_chosen(image) -> None:
    (image.folder / "kernels" / "cpus").write_text("x86-64-v3\n")
    image.run("mfenvs", FLAGS=AVX512)
    assert image.environment["NUMBA_CPU_NAME"] == "x86-64-v3"
    (image.folder / "kernels" / "cpus").write_text("generic\n")
    image.run("mfenvs", FLAGS="")
    assert image.environment["NUMBA_CPU_NAME"] == "generic"


def test_the_cpu_can_be_given(image) -> None:
    done = image.run("mfenvs", NUMBA_CPU_NAME="native")
    assert not {"NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"} & image.environment.keys()
    assert done.stderr == ""
    image.run("mfenvs", NUMBA_CPU_NAME="skylake", NUMBA_CPU_FEATURES="+avx2")
    assert image.environment["NUMBA_CPU_NAME"] == "skylake"
    assert image.environment["NUMBA_CPU_FEATURES"] == "+avx2"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(AVX512, ["x86-64-v4", "x86-64-v3"]), (AVX2, ["x86-64-v3"]), ("flags : fpu", ["generic"]), ("", ["generic"])],
)
def test_an_image_has_kernels_for_what_the_building_machine_runs(image, flags, expected) -> None:
    image.command("python", '#!/bin/bash\necho "$* $NUMBA_CPU_NAME ${NUMBA_CPU_FEATURES-unset}"\n')
    done = image.run(script="warm.sh", FLAGS=flags)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if line.startswith("warm.py")]
    assert lines == [f"warm.py {name} " for name in expected]
    assert (image.folder / "kernels" / "cpus").read_text().split() == expected


@pytest.mark.parametrize(
    ("wanted", "flags", "expected"),
    [
        ("x86-64-v3", AVX512, ["x86-64-v3"]),
        ("generic", AVX512, ["generic"]),
        ("x86-64-v4 generic", AVX2, ["generic"]),
    ],
)
def test_an_image_has_kernels_for_the_cpus_that_were_asked_for(image, wanted, flags, expected) -> None:
    image.command("python", '#!/bin/bash\necho "$* $NUMBA_CPU_NAME"\n')
    done = image.run(script="warm.sh", FLAGS=flags, KERNELS_FOR=wanted)
    assert (done.returncode, done.stderr) == (0, "")
    assert (image.folder / "kernels" / "cpus").read_text().split() == expected


def test_kernels_for_an_unknown_cpu_are_refused(image) -> None:
    done = image.run(script="warm.sh", KERNELS_FOR="x86-64-v3 skylake")
    assert done.returncode == 64
    assert done.stderr == "KERNELS_FOR must name some of x86-64-v4 x86-64-v3 generic, got skylake\n"


def test_an_image_is_not_built_if_a_game_fails(image) -> None:
    image.command("python", "#!/bin/bash\nexit 3\n")
    before = (image.folder / "kernels" / "cpus").read_text()
    assert image.run(script="warm.sh").returncode == 3
    assert (image.folder / "kernels" / "cpus").read_text() == before


def test_a_uid_without_a_name_gets_one(image) -> None:
    if os.getuid() != 0:
        pytest.skip("needs to be root to run as a uid without a name")
    image.run("mfenvs")
    assert image.environment["USER"] == image.environment["LOGNAME"] == "mfenvs"


USE = """
import numpy as np, mfenvs
from baselines import OnlineMirrorDescent, SymmPMD
game = mfenvs.make("Epidemic-v0")
engine = mfenvs.Engine(game)
engine.reset(seed=0)
engine.step(np.zeros((1, 1000), np.int64))
engine.observe()
SymmPMD(game, seed=0).learn(1)
law = OnlineMirrorDescent(game).learn(1).policy.probabilities
print(mfenvs.InducedGame(game).exploitability(law), mfenvs.n_player_exploitability(game, law, n_worlds=4).mean)
"""


@pytest.mark.slow
def test_kernels_that_were_compiled_when_the_image_was_built_are_found(tmp_path) -> None:
    """A game of the default size compiles nothing more, in play, in its mean-field game and in training."""
    environment = os.environ | {
        "MPLCONFIGDIR": str(tmp_path / "fonts"),
        "NUMBA_CACHE_DIR": str(tmp_path / "kernels"),
        "NUMBA_CPU_NAME": "x86-64-v3",
        "NUMBA_CPU_FEATURES": "",
        "PYTHONPATH": str(ROOT),
    }

    def kernels_after(*words: str) -> dict[str, int]:
        command = [sys.executable, *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "kernels").rglob("*.nbc")}

    compiled = kernels_after(str(ROOT / "docker" / "warm.py"), "Epidemic-v0")
    assert len(compiled) > 10
    assert kernels_after("-c", USE) == compiled
