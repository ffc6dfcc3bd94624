//! `/v1/events`: the report, again whenever it is another, as server-sent events.
//!
//! The loop that judges is asked only while somebody listens, and once for all of them. What is told
//! is not queued: whoever is slow gets the latest report when it has taken the one before.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep};

use super::questions::{Question, Questions};
use crate::report::answer::Answer as Report;

/// What the form is called in a header.
pub(super) const CONTENT_TYPE: &str = "text/event-stream";

/// Who may listen at once.
const CLIENTS: usize = 16;
/// How often the report is made at most.
const PACE: Duration = Duration::from_secs(1);
/// How often it is made at least, however long that takes.
const SLOWEST: Duration = Duration::from_secs(10);
/// The pause after a report is so many times as long as it took: the judging goes first.
const REST: u32 = 9;
/// How often a report is told that is another only in how long was watched.
const REFRESH: Duration = Duration::from_secs(10);
/// How often a client hears something, so that whatever is between does not close the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A comment, which clients leave out.
const COMMENT: &[u8] = b":\n\n";

/// What there is to be told.
enum News {
    Nothing,
    Report(Bytes),
    Ended,
}

/// Those who listen.
pub(super) struct Events {
    places: Arc<Semaphore>,
    news: watch::Sender<News>,
    came: Notify,
}

/// What one client is told: the body of its answer.
pub(super) struct Feed(mpsc::Receiver<Bytes>);

/// A report that was told, and when.
struct Told {
    report: Box<Report>,
    at: Instant,
}

impl Events {
    /// Nobody yet.
    pub(super) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(CLIENTS)),
            news: watch::Sender::new(News::Nothing),
            came: Notify::new(),
        }
    }

    /// One more who listens; `None` if there are enough.
    pub(super) fn join(&self) -> Option<Feed> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut news = self.news.subscribe();
        // What was told last is news to whoever comes.
        news.mark_changed();
        let (to, from) = mpsc::channel(1);
        tokio::spawn(feed(news, to, place));
        self.came.notify_one();
        Some(Feed(from))
    }

    /// Asks for the report, and tells it, while somebody listens. Never ends.
    pub(super) async fn publish(&self, questions: &Questions) {
        loop {
            self.came.notified().await;
            let mut last = None;
            while self.news.receiver_count() > 0 {
                let asked = Instant::now();
                if let Ok(report) = questions.ask(Question::Report).await {
                    // Beside the loop that judges, and so is the comparison.
                    let making = tokio::task::spawn_blocking(move || news_of(report, last));
                    let (news, told) = making.await.unwrap_or_default();
                    last = told;
                    if let Some(event) = news {
                        self.tell(News::Report(event));
                    }
                }
                sleep((asked.elapsed() * REST).clamp(PACE, SLOWEST)).await;
            }
            // Whoever comes next is not told what was long ago.
            self.tell(News::Nothing);
        }
    }

    /// Ends what all are told, for good.
    pub(super) fn end(&self) {
        self.tell(News::Ended);
    }

    fn tell(&self, next: News) {
        self.news.send_if_modified(|news| {
            let goes_on = !matches!(news, News::Ended);
            if goes_on {
                *news = next;
            }
            goes_on
        });
    }
}

/// The event of a report, if there is something new in it; and what was told last.
fn news_of(report: Box<Report>, last: Option<Told>) -> (Option<Bytes>, Option<Told>) {
    if let Some(told) = last {
        let is_due = told.at.elapsed() >= REFRESH && told.report.seen != report.seen;
        if !is_due && report.tells_same(&told.report) {
            return (None, Some(told));
        }
    }
    // It has nothing that is no JSON.
    let Ok(json) = report.shown() else {
        return (None, None);
    };
    let event = format!("event: report\ndata: {json}\n\n");
    let at = Instant::now();
    (Some(event.into()), Some(Told { report, at }))
}

/// Tells a client what is new, as fast as it takes it.
async fn feed(
    mut news: watch::Receiver<News>,
    to: mpsc::Sender<Bytes>,
    _place: OwnedSemaphorePermit,
) {
    loop {
        let is_new = tokio::select! {
            () = to.closed() => return,
            changed = news.changed() => match changed {
                Ok(()) => true,
                Err(_) => return,
            },
            () = sleep(KEEP_ALIVE) => false,
        };
        let Ok(room) = to.reserve().await else {
            return;
        };
        if !is_new {
            room.send(Bytes::from_static(COMMENT));
            continue;
        }
        // Only now, so that it is the latest.
        match &*news.borrow_and_update() {
            News::Nothing => {}
            News::Report(event) => room.send(event.clone()),
            News::Ended => return,
        }
    }
}

impl Body for Feed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.poll_recv(context);
        next.map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &'static str) -> News {
        News::Report(Bytes::from_static(text.as_bytes()))
    }

    /// Lets the tasks that can go on do so.
    async fn settle() {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_is_slow_gets_the_latest_and_nothing_is_queued() {
        let events = Events::new();
        let mut slow = events.join().unwrap();
        for text in ["1", "2", "3", "4"] {
            events.tell(event(text));
            settle().await;
        }
        // One was under way.
        assert_eq!(slow.0.recv().await.unwrap(), "1");
        assert_eq!(slow.0.recv().await.unwrap(), "4");
        // Who comes late gets what is there.
        let mut late = events.join().unwrap();
        assert_eq!(late.0.recv().await.unwrap(), "4");
        events.end();
        events.tell(event("5"));
        assert_eq!(slow.0.recv().await, None);
        assert_eq!(late.0.recv().await, None);
    }

    #[tokio::test]
    async fn places_are_few_and_come_back() {
        let events = Events::new();
        let mut all: Vec<Feed> = (0..CLIENTS).map(|_| events.join().unwrap()).collect();
        assert!(events.join().is_none());
        all.pop();
        settle().await;
        assert!(events.join().is_some());
    }

    #[tokio::test]
    async fn the_loop_is_asked_only_while_somebody_listens() {
        let (questions, mut asked) = Questions::new();
        let events = Events::new();
        let judging = async {
            let briefly = Duration::from_millis(50);
            let nothing = tokio::time::timeout(briefly, asked.recv()).await;
            assert!(nothing.is_err(), "{nothing:?}");
            let (mut one, mut other) = (events.join().unwrap(), events.join().unwrap());
            let Some(Question::Report(reply)) = asked.recv().await else {
                panic!("no question");
            };
            let report = crate::report::answer::merge(&[]).unwrap();
            reply.send(Box::new(report)).unwrap();
            let told = one.0.recv().await.unwrap();
            assert!(told.starts_with(b"event: report\ndata: {\"headline\":\"no policy"));
            assert_eq!(other.0.recv().await.unwrap(), told);
            drop((one, other));
            // One question for both, and no more when they have gone.
            let nothing = tokio::time::timeout(PACE * 2, asked.recv()).await;
            assert!(nothing.is_err(), "{nothing:?}");
        };
        tokio::select! {
            () = events.publish(&questions) => {}
            () = judging => {}
        }
    }

    #[test]
    fn only_another_report_is_news() {
        let report = || Box::new(crate::report::answer::merge(&[]).unwrap());
        let (news, told) = news_of(report(), None);
        assert!(news.is_some());
        let mut longer = report();
        longer.seen.window_seconds = Some(5.0);
        let (news, told) = news_of(longer, told);
        assert!(news.is_none());
        let mut other = report();
        other.breaking = 1;
        let (news, mut told) = news_of(other, told);
        assert!(news.is_some());
        // After a while it is told for how long was watched.
        let mut longer = report();
        longer.breaking = 1;
        longer.seen.window_seconds = Some(5.0);
        if let Some(told) = &mut told {
            told.at -= REFRESH;
        }
        assert!(news_of(longer, told).0.is_some());
    }
}
