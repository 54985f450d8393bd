"""Where the playbooks lie that come with Hearth and its load tests."""

from pathlib import Path

import playbooks

SHIPPED_PLAYBOOK = Path(str(playbooks.__file__)).parent / "telco"
FOLD_PLAYBOOK = Path(__file__).parent / "household_fold" / "playbook.yaml"
