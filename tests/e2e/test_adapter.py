"""An adapter of one's own that `kat ask` cannot use; `tests/training/test_export.py` has one that it can."""


def test_an_adapter_that_cannot_be_used_is_said_in_a_sentence(kat, repository, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for engine, adapter, words in (
        ("embedded", folder, "name its GGUF file"),
        ("http://127.0.0.1:9", folder, "kat serve adapters load"),
    ):
        outcome = kat("ask", "Hi.", "--repo", repository, "--engine", engine, "--adapter", adapter)
        assert outcome.code == 1
        assert words in outcome.err
        assert len(outcome.err.splitlines()) == 1
