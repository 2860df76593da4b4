"""What the steps of the sweep call a candidate's record and its states."""

RECORD = "candidate.json"
TRAINED, FAILED, UNTRIED, SCREENED = "trained", "failed", "untried", "screened"
