"""Where the gradient of the reward is taken: one class for each location.

A location of your own is a subclass of `Location`; a configuration names it by its path (`guidance.location:
my_package.MyLocation`), and nothing in the sampler changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from lightning_realign.diffusion.steps import Step, Steps
from lightning_realign.errors import ConfigError
from lightning_realign.files.imports import named_part
from lightning_realign.rewards.compatibility import StateReward
from lightning_realign.rewards.reward import reward_gradient

Denoise = Callable[[Tensor], Tensor]
"""The network at one timestep: states [B, ...] -> output [B, ...]."""


@dataclass(frozen=True)
class Evaluation:
    """States before a step and the network's output for them.

    x, output: [B, ...]. gradient, rewards: [B, ...] and [B] where the location differentiates through the network; None
    elsewhere.
    """

    x: Tensor
    output: Tensor
    gradient: Tensor | None = None
    rewards: Tensor | None = None


class Location:
    """A tensor at which the reward is differentiated.

    Attributes:
        noisy: whether the reward reads a state that is not clean, at its own signal level.
        follows_noise: whether the tensor depends on the noise of the step itself.
    """

    noisy = True
    follows_noise = False

    def evaluate(self, steps: Steps, index: int, x: Tensor, denoise: Denoise, reward: StateReward) -> Evaluation:
        """Evaluate the network before a guided step.

        Args:
            steps: the sampler's steps.
            index: the step's index.
            x: [B, ...] states before the step.
            denoise: the network at this step.
            reward: (states, signal level) -> rewards [B].
        """
        return Evaluation(x, denoise(x))

    def place(self, steps: Steps, index: int, evaluation: Evaluation, unguided: Step) -> tuple[Tensor, float]:
        """The tensor [B, ...] at which the gradient is taken, and its signal level alpha_bar.

        Args:
            steps: the sampler's steps.
            index: the step's index.
            evaluation: states before the step and the network's output.
            unguided: the scheduler's own step from there.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say where its gradient is taken")

    def gradient(
        self, steps: Steps, index: int, evaluation: Evaluation, unguided: Step, reward: StateReward
    ) -> tuple[Tensor, Tensor]:
        """The gradient [B, ...] of each sample's own reward, and the rewards [B]; the arguments are those above."""
        state, level = self.place(steps, index, evaluation, unguided)
        return reward_gradient(lambda at: reward(at, level), state)


class NoisyState(Location):
    """x_t, the state before the step (the paper's Algorithm 2)."""

    def place(self, steps: Steps, index: int, evaluation: Evaluation, unguided: Step) -> tuple[Tensor, float]:
        """x_t at its own level."""
        return evaluation.x, steps.alpha_bar[index]


class PreviousState(Location):
    """x_{t-1}, the state after the unguided step (the paper's public code)."""

    follows_noise = True

    def place(self, steps: Steps, index: int, evaluation: Evaluation, unguided: Step) -> tuple[Tensor, float]:
        """x_{t-1} at its own level."""
        return unguided.prev, steps.alpha_bar_next[index]


class PredictedClean(Location):
    """The predicted x_0, not through the denoiser, at level 0."""

    noisy = False

    def place(self, steps: Steps, index: int, evaluation: Evaluation, unguided: Step) -> tuple[Tensor, float]:
        """The predicted clean state, whose alpha_bar is 1."""
        return unguided.x0, 1.0


class ThroughDenoiser(Location):
    """x_t, with the reward of the x_0 that the network predicts from it (arXiv 2209.14687), at level 0.

    The gradient goes back through the denoiser, which costs about one more evaluation.
    """

    noisy = False

    def evaluate(self, steps: Steps, index: int, x: Tensor, denoise: Denoise, reward: StateReward) -> Evaluation:
        """Evaluate the network and differentiate through it.

        Raises:
            ConfigError: the network's output cannot be differentiated.
        """
        outputs: list[Tensor] = []

        def through(state: Tensor) -> Tensor:
            outputs.append(denoise(state))
            if not outputs[0].requires_grad:
                raise ConfigError(
                    "guidance location='x0_through': this generator's network cannot be differentiated; use location x0"
                )
            return reward(steps.predicted(index, outputs[0], state), 1.0)

        gradient, rewards = reward_gradient(through, x)
        return Evaluation(x, outputs[0].detach(), gradient, rewards)

    def gradient(
        self, steps: Steps, index: int, evaluation: Evaluation, unguided: Step, reward: StateReward
    ) -> tuple[Tensor, Tensor]:
        """What `evaluate` has found."""
        if evaluation.gradient is None or evaluation.rewards is None:
            raise ValueError("the evaluation has no gradient: make it by `evaluate` of this location")
        return evaluation.gradient, evaluation.rewards


LOCATIONS: Mapping[str, type[Location]] = {
    "x_t": NoisyState,
    "x_prev": PreviousState,
    "x0": PredictedClean,
    "x0_through": ThroughDenoiser,
}
"""The locations that a configuration can name."""


def make_location(name: str) -> Location:
    """The location of that name, or of the class of your own at that path.

    Raises:
        ConfigError: there is none.
    """
    return named_part("guidance location", name, LOCATIONS)()
