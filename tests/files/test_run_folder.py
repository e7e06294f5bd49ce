"""A run's folder stands for its newest log that holds what is looked for."""

from lightning_realign.files.run_folder import newest_with


def test_the_newest_log_that_has_the_file(tmp_path):
    logs = tmp_path / "logs"
    for number, name in ((2, "table-test.json"), (9, "table-val.json"), (10, "table-test.json"), (11, "config.yaml")):
        (logs / f"version_{number}").mkdir(parents=True)
        (logs / f"version_{number}" / name).write_text("{}")
    assert newest_with(tmp_path, "table-*.json") == logs / "version_10"
    assert newest_with(tmp_path, "table-val.json", "retrieval-*.json") == logs / "version_9"
    assert newest_with(tmp_path, "samples-*.safetensors") == tmp_path
    (tmp_path / "table-test.json").write_text("{}")
    assert newest_with(tmp_path, "table-*.json") == tmp_path
