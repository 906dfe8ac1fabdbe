use std::time::Duration;

use super::PressureSnapshot;

/// How much wider than configured the merge windows of this core are.
///
/// Cost per viewer falls as the window grows, so under pressure the window widens first, step by
/// step, and newcomers are refused only when it is at its widest and that was not enough.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    level: u32,
    overruns: u32,
    refuse: bool,
}

/// Steps between the configured window and the widest.
const LEVELS: u32 = 8;
/// A core busier than this (of 1) is under pressure.
const BUSY: f64 = 0.9;
/// Below this there is air again. The gap keeps the window from swinging.
const AIR: f64 = 0.7;

impl Pressure {
    /// A sweep was still running when its next was due.
    pub(crate) fn overrun(&mut self) {
        self.overruns += 1;
    }

    /// A second has passed in which the core was busy for `busy` of 1.
    pub(crate) fn second(&mut self, busy: f64) {
        let overruns = std::mem::take(&mut self.overruns);
        let pressed = overruns > 0 || busy > BUSY;
        self.refuse = pressed && self.level == LEVELS;
        if pressed {
            self.level = (self.level + 1).min(LEVELS);
        } else if busy < AIR {
            self.level = self.level.saturating_sub(1);
        }
    }

    /// The window to use where `window` is configured.
    pub(crate) fn window(&self, window: Duration, widest: Duration) -> Duration {
        window + widest.saturating_sub(window) * self.level / LEVELS
    }

    /// True when the widest window was not enough.
    pub(crate) fn refuses_newcomers(&self) -> bool {
        self.refuse
    }

    /// Where it stands.
    pub(crate) fn snapshot(&self) -> PressureSnapshot {
        PressureSnapshot { step: self.level, widest_step: LEVELS, refuses_newcomers: self.refuse }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(200);
    const WIDEST: Duration = Duration::from_millis(1000);

    #[test]
    fn the_window_widens_before_anyone_is_refused_and_shrinks_when_there_is_air() {
        let mut pressure = Pressure::default();
        assert_eq!(pressure.window(WINDOW, WIDEST), WINDOW);
        for _ in 0..LEVELS {
            assert!(!pressure.refuses_newcomers());
            pressure.second(0.95);
        }
        assert_eq!(pressure.window(WINDOW, WIDEST), WIDEST);
        assert!(!pressure.refuses_newcomers());
        pressure.second(0.95);
        assert!(pressure.refuses_newcomers());
        pressure.second(0.8);
        assert!(!pressure.refuses_newcomers());
        assert_eq!(pressure.snapshot().step, LEVELS);
        for _ in 0..LEVELS {
            pressure.second(0.5);
        }
        assert_eq!(pressure.window(WINDOW, WIDEST), WINDOW);
    }

    #[test]
    fn an_overrun_is_pressure_even_on_a_core_with_air() {
        let mut pressure = Pressure::default();
        pressure.overrun();
        pressure.second(0.1);
        assert_eq!(pressure.snapshot().step, 1);
    }
}
