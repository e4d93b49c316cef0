//! A request on its way here. Once it has arrived whole, its method answers in time by itself; until then somebody
//! has to look at the clock.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;

use super::room::Place;

/// The body of a request, as long as its deadline allows.
#[derive(Debug)]
pub(super) struct Arrival {
    body: Incoming,
    ends: Instant,
    /// What has come of it takes room, until it was unpacked.
    place: Place,
    /// Made only where there is something to wait for.
    late: Option<Pin<Box<Sleep>>>,
    /// What ends a request that would be sent without end.
    last: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Arrival {
    /// `body`, until `ends`; where there is a `last`, what has not come by then is not waited for.
    pub(super) fn new(
        body: Incoming,
        ends: Instant,
        place: Place,
        last: Option<WaitForCancellationFutureOwned>,
    ) -> Self {
        Self { body, ends, place, late: None, last: last.map(Box::pin) }
    }
}

impl Body for Arrival {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.place.poll_ready(context).is_ready()
            && let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context)
        {
            if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
                let bytes = data.len();
                self.place.grow(bytes);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| Status::from_error(error.into()))));
        }
        if self.last.as_mut().is_some_and(|last| last.as_mut().poll(context).is_ready()) {
            self.last = None;
            return Poll::Ready(None);
        }
        let ends = self.ends;
        ready!(self.late.get_or_insert_with(|| Box::pin(sleep_until(ends))).as_mut().poll(context));
        let late = "the deadline was over before the whole request had arrived";
        Poll::Ready(Some(Err(Status::deadline_exceeded(late))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
