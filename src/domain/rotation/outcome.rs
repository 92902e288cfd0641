//! The steps of a rotation that Events report and metrics count.

/// What a rotation did to the keys of a pair, or failed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationOutcome {
    /// The next key is published.
    NextKeyPublished,
    /// The next key has become the current one.
    KeyRotated,
    /// The previous key is no longer to be trusted.
    PreviousKeyRemoved,
    /// The next key was removed before it became current.
    RotationCancelled,
    /// A step failed, and is retried. Causes no Event.
    RotationFailed,
}

impl RotationOutcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [
        Self::NextKeyPublished,
        Self::KeyRotated,
        Self::PreviousKeyRemoved,
        Self::RotationCancelled,
        Self::RotationFailed,
    ];

    /// The reason of the Event, and the label of the metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NextKeyPublished => "NextKeyPublished",
            Self::KeyRotated => "KeyRotated",
            Self::PreviousKeyRemoved => "PreviousKeyRemoved",
            Self::RotationCancelled => "RotationCancelled",
            Self::RotationFailed => "RotationFailed",
        }
    }
}
