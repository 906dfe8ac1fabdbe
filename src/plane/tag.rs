use std::any::Any;
use std::sync::Arc;

/// Whatever a driver wants to know its viewer or publisher by. The plane only keeps it, and gives
/// it to whoever asks who is there.
#[derive(Debug, Clone)]
pub struct Tag(Arc<dyn Any + Send + Sync>);

impl Tag {
    /// A share of what the driver knows.
    pub fn new(what: Arc<dyn Any + Send + Sync>) -> Self {
        Self(what)
    }

    /// What it was made of, if it is one of those.
    pub fn downcast<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        Arc::clone(&self.0).downcast().ok()
    }

    /// The same, to look at only.
    pub fn downcast_ref<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

/// Two are equal if they are of the same driver.
impl PartialEq for Tag {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.0), Arc::as_ptr(&other.0))
    }
}

impl Eq for Tag {}
