"""The tables of retrieval: which runs share one, and how published rows stand beside them."""

import pytest

from lightning_realign.report import paper
from lightning_realign.report.layout import paper_text
from tests.helpers.report_cases import RETRIEVAL_SETTINGS, data, recalls


@pytest.mark.parametrize(
    ("change", "apart"),
    [
        ({}, set()),
        ({"threshold": 0.9}, {"threshold"}),
        ({"sentence_encoder": "all-mpnet-base-v2"}, {"threshold"}),
        ({"nsim": "other.txt"}, {"nsim"}),
        ({"nsim": 100}, {"nsim"}),
        ({"samples": 7}, set(paper.PROTOCOLS)),
        ({"pool": 8}, set(paper.PROTOCOLS)),
    ],
)
def test_retrieval_runs_share_the_tables_whose_settings_they_share(change, apart, tables):
    settings = RETRIEVAL_SETTINGS | {"threshold": 0.95, "sentence_encoder": "all-MiniLM-L6-v2", "samples": 9}
    runs = [({"TMR": recalls(*paper.PROTOCOLS)}, chosen) for chosen in (settings, settings | change)]
    found = [table.part for table in tables(*runs, kind="retrieval")]
    assert {part for part in found if found.count(part) == 2} == apart and set(found) == set(paper.PROTOCOLS)


@pytest.mark.parametrize(("encoder", "count"), [("all-MiniLM-L6-v2", 1), ("all-mpnet-base-v2", 2)])
def test_a_chosen_subset_depends_on_the_sentence_encoder(encoder, count, tables):
    settings = RETRIEVAL_SETTINGS | {"nsim": 100, "sentence_encoder": "all-MiniLM-L6-v2"}
    runs = [({"TMR": recalls("nsim")}, chosen) for chosen in (settings, settings | {"sentence_encoder": encoder})]
    assert len(tables(*runs, kind="retrieval")) == count


def test_a_list_of_ids_is_known_by_its_content(tables):
    lists = [{"files": {"nsim": {"path": path, "sha256": "s"}}} for path in ("a/nsim.txt", "b/nsim.txt")]
    runs = [
        (
            {"TMR": recalls("nsim")},
            RETRIEVAL_SETTINGS | {"nsim": f["files"]["nsim"]["path"], "provenance": data("HumanML3D") | f},
        )
        for f in lists
    ]
    assert len(tables(*runs, kind="retrieval")) == 1


@pytest.mark.parametrize(
    ("protocol", "fragment"),
    [("normal", "any length"), ("batches", "any length"), ("pool32", "topped up"), ("nsim", None)],
)
def test_how_published_retrieval_rows_were_made_otherwise_is_said(protocol, fragment, tables):
    (table,) = tables(({"TMR": recalls(protocol)}, RETRIEVAL_SETTINGS), kind="retrieval")
    found = [note for note in table.notes if note.startswith("Not made in quite the same way")]
    assert [fragment in note for note in found] == ([] if fragment is None else [True])
    (table,) = tables(({"TMR": recalls(protocol)}, RETRIEVAL_SETTINGS | {"split": "val"}), kind="retrieval")
    assert not any("same way" in note for note in table.notes)


def test_retrieval_has_a_table_per_protocol(tables):
    found = tables(
        ({"ReAlign": recalls("normal", "pool32"), "ReAlign t=300": recalls("pool32")}, RETRIEVAL_SETTINGS),
        kind="retrieval",
    )
    assert [table.part for table in found] == ["normal", "pool32"]
    normal, pools = found
    assert [row.name for row in pools.rows] == ["ReAlign", "ReAlign t=300"]
    assert paper_text(normal).split("\n\n")[1].splitlines()[2].split()[2:5] == ["0.00", "1.00", "2.00"]
    assert {row.method for row in normal.published} >= {"TEMOS", "T2M", "TMR"}
    tmr = next(row for row in normal.published if row.method == "TMR")
    assert tmr.metrics["t2m_R@1"].mean == 5.68 and tmr.metrics["m2t_MedR"].mean == 28.5
    assert [row.method for row in pools.published] == ["ReAlign"]


@pytest.mark.parametrize(
    ("change", "protocol", "reason"),
    [
        ({"provenance": data("mocap")}, "normal", "the data set is mocap"),
        ({"nsim": 100}, "nsim", "chosen here"),
        ({}, "threshold", "no source of them"),
        ({"split": "val"}, "normal", "the split is val"),
    ],
)
def test_published_retrieval_rows_need_the_same_data_and_protocol(change, protocol, reason, tables):
    (table,) = tables(({"TMR": recalls(protocol)}, RETRIEVAL_SETTINGS | change), kind="retrieval")
    assert table.published == () and any(reason in note for note in table.notes)
