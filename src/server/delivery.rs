//! An answer on its way to its caller: in slices, and within a bounded time.
//!
//! The HTTP/2 library takes what it is handed, whether or not the client takes it. So it is handed little at a time,
//! and the task that hands it over is ended where the client takes too long, or where its room is needed: that resets
//! the stream.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tracing::debug;

use super::room::{self, Place};

/// As much as one frame holds, where the client asks for no other size. This much of each answer may stay with the
/// HTTP/2 library until its connection ends.
const SLICE_BYTES: usize = 16 << 10;

tokio::task_local! {
    /// By when the answer of this task's stream is to be taken; set once there is one.
    static TAKEN_BY: Cell<Option<Instant>>;
}

/// Bounds the time for the answer to the request that this task serves.
pub(super) fn to_be_taken_by(moment: Instant) {
    // Each request is served in the task of its stream, which `Streams` began.
    let _ = TAKEN_BY.try_with(|by| by.set(Some(moment)));
}

/// Runs a task for each stream of a connection, until its answer was handed over or its time is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        room::spawn(TAKEN_BY.scope(Cell::new(None), async move {
            let mut stream = pin!(stream);
            let by = poll_fn(|context| match stream.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => TAKEN_BY.with(Cell::get).map_or(Poll::Pending, |by| Poll::Ready(Some(by))),
            });
            if let Some(by) = by.await
                && timeout_at(by, stream).await.is_err()
            {
                debug!("an answer was not taken in time");
            }
        }));
    }
}

type AnswerFrame = Result<Frame<Bytes>, Status>;

/// An answer's body, handed over in slices.
#[derive(Debug)]
pub(super) struct Sliced {
    answer: tonic::body::Body,
    /// What was made of it before anybody asked.
    first: Option<AnswerFrame>,
    /// What is left of a frame that was too large.
    rest: Bytes,
    /// The room that it takes, as long as any of it has not been handed over.
    _place: Place,
}

impl Sliced {
    /// Whose frames are made when they are asked for.
    pub(super) const fn new(answer: tonic::body::Body, place: Place) -> Self {
        Self { answer, first: None, rest: Bytes::new(), _place: place }
    }

    /// The same, whose first frame is made now: it is known what the answer takes, whether or not its client takes it.
    pub(super) async fn made(mut answer: tonic::body::Body, mut place: Place) -> Self {
        let first = if answer.is_end_stream() {
            None
        } else {
            poll_fn(|context| place.poll_ready(context)).await;
            poll_fn(|context| Pin::new(&mut answer).poll_frame(context)).await
        };
        if let Some(data) = first.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            place.grow(data.len());
        }
        Self { answer, first, rest: Bytes::new(), _place: place }
    }
}

impl Body for Sliced {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.rest.is_empty() {
            let frame = match self.first.take() {
                None => ready!(Pin::new(&mut self.answer).poll_frame(context)),
                first => first,
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) if data.len() > SLICE_BYTES => self.rest = data,
                Some(Ok(Ok(data))) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            }
        }
        let length = self.rest.len().min(SLICE_BYTES);
        // A copy: a slice of the whole would keep the whole, for as long as the library keeps the slice.
        let slice = Bytes::copy_from_slice(&self.rest.split_to(length));
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_empty() && self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.first.is_none() && self.rest.is_empty() {
            self.answer.size_hint()
        } else {
            SizeHint::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::{Body, Bytes, Frame};
    use tonic::Status;

    use super::{SLICE_BYTES, Sliced};
    use crate::server::room::{Place, Room};

    /// A body of one frame.
    struct Once(Option<Bytes>);

    impl Body for Once {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
        }
    }

    #[tokio::test]
    async fn slices_lose_nothing_and_do_not_keep_the_whole() {
        for length in [0, 1, SLICE_BYTES, SLICE_BYTES + 1, 3 * SLICE_BYTES, 3 * SLICE_BYTES + 7] {
            let whole = Bytes::from((0..=250).cycle().take(length).collect::<Vec<u8>>());
            let answer = || tonic::body::Body::new(Once(Some(whole.clone())));
            let place = || Place::new(Room::new(0));
            for mut body in [Sliced::new(answer(), place()), Sliced::made(answer(), place()).await] {
                let mut slices = Vec::new();
                while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
                    slices.push(frame.unwrap().into_data().unwrap());
                }
                assert!(slices.iter().all(|slice| slice.len() <= SLICE_BYTES));
                assert_eq!(slices.concat(), whole, "{length}");
            }
            assert!(length <= SLICE_BYTES || whole.is_unique(), "{length}");
        }
    }
}
