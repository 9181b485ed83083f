//! What runs say, taken down as it comes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tranship::apply::event::Event;

/// Events in the order they came.
pub(crate) type Events = Arc<Mutex<Vec<Event>>>;

/// Takes down what the newest run says.
#[derive(Default)]
pub(crate) struct Listener(Mutex<Option<JoinHandle<()>>>);

impl Listener {
    /// Begins; what it is told stands behind what is there.
    pub(crate) fn begin(&self, events: &Events) -> UnboundedSender<Event> {
        let (sender, mut receiver) = unbounded_channel();
        let events = events.clone();
        let listener = tokio::spawn(async move {
            while let Some(event) = receiver.recv().await {
                events.lock().expect("not poisoned").push(event);
            }
        });
        *self.0.lock().expect("not poisoned") = Some(listener);
        sender
    }

    /// All that the run said has been heard, unless something of it still runs.
    pub(crate) async fn end(&self) {
        let listener = self.0.lock().expect("not poisoned").take();
        if let Some(listener) = listener {
            let _ = tokio::time::timeout(Duration::from_secs(1), listener).await;
        }
    }
}
