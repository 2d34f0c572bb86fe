from pathlib import Path

from gazeseg.report.datasets import review_line


def test_the_report_counts_what_reviewers_noted(tmp_path: Path) -> None:
    assert review_line(tmp_path) == ""
    file = tmp_path / "review.csv"
    file.write_text("case_id,reviewer,flag,comment,at\n")
    assert review_line(tmp_path) == ""
    rows = ["a,r,doubtful,,t", 'b,r,good,"fine, really",t', "c,r,doubtful,x,t", "d,r,,only words,t"]
    file.write_text("\n".join(["case_id,reviewer,flag,comment,at", *rows]) + "\n")
    assert review_line(tmp_path).startswith("1 commented, 2 doubtful, 1 good (review.csv")
