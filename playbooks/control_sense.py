"""Warnings for sense about control groups: who is withheld from what, and whether anything can be measured by it."""

from household.plan import ContactClass, Experiment, Journey, Layer
from household.plan.experiments import ALL_BP
from household.traits import class_of
from playbooks.remarks import Check

MUCH_WITHHELD = 0.5


class ControlSense(Check):
    """Control groups that measure nothing, or are everybody."""

    def look(self) -> None:
        for journey in self.plan.journeys:
            self._journey(journey)
        for experiment in self.plan.experiments:
            self._experiment(experiment)

    def _journey(self, journey: Journey) -> None:
        keys = ("journeys", journey.name, "control")
        if journey.control_share == 0.0 and not self._is_measured(journey):
            wrong = f"journey '{journey.name}' has no control group: what it brings about cannot be measured"
            self.warn(wrong, "write a share such as 'control: 10%'", *keys)
        elif journey.control_share > MUCH_WITHHELD:
            self._much(f"the control group of journey '{journey.name}'", journey.control_share, *keys)

    def _is_measured(self, journey: Journey) -> bool:
        """Return whether an experiment of its own, or its programme's, has a control group."""
        index = self.plan.journeys.index(journey)
        return any(one.control_bp > 0 and index in one.journeys for one in self.plan.experiments)

    def _experiment(self, experiment: Experiment) -> None:
        keys, name = ("experiments", experiment.name, "control"), experiment.name
        if experiment.control_bp == 0:
            wrong = f"experiment '{name}' has no control group: its arms can be told from each other, not from nothing"
            self.warn(wrong, "write a share such as 'control: 10%'", *keys)
        elif experiment.control_bp > MUCH_WITHHELD * ALL_BP:
            self._much(f"the control group of experiment '{name}'", experiment.control_bp / ALL_BP, *keys)
        if experiment.layer is Layer.REWARD and not experiment.offers and not self._has_rewards():
            wrong = f"experiment '{name}' is about rewards, and no offer is one"
            self.warn(wrong, "name offers, or give some 'contact_class: reward'", "experiments", name)

    def _has_rewards(self) -> bool:
        journeys = ["", *(one.name for one in self.plan.journeys)]
        return any(
            class_of(self.plan, offer, name) == ContactClass.REWARD
            for offer in range(len(self.plan.offers))
            for name in journeys
        )

    def _much(self, what: str, share: float, *keys: str) -> None:
        if share == 1.0:
            self.warn(f"{what} is everyone: it never does anything", "write 1% if one in a hundred is meant", *keys)
        else:
            self.warn(f"{what} is {share:.0%} of the households", "10% is usual", *keys)
