//! Whether the database answers, where any one node may be slow or gone.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::timeout;

use crate::storage::StoreError;

/// How many questions may be asked. With three nodes, of which one stands still, all of them meet it one time in 27.
const QUESTIONS: usize = 3;
/// How long one may stay without an answer before the next is asked beside it.
const NEXT_AFTER: Duration = Duration::from_millis(500);

/// Asks, and asks again where there is an error or no answer for a while. One good answer is enough.
pub(super) async fn any_answer<Asked>(mut ask: impl FnMut() -> Asked) -> Result<(), StoreError>
where
    Asked: Future<Output = Result<(), StoreError>>,
{
    let mut asked = FuturesUnordered::new();
    let mut last = Ok(());
    for _ in 0..QUESTIONS {
        asked.push(ask());
        match timeout(NEXT_AFTER, asked.select_next_some()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(error) => last = error,
            Err(_) => {}
        }
    }
    while let Some(answer) = asked.next().await {
        if answer.is_ok() {
            return answer;
        }
        last = answer;
    }
    last
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{Instant, sleep};

    use super::*;

    type Answer = Result<(), StoreError>;

    fn failed(n: usize) -> Answer {
        Err(StoreError::Unavailable(n.to_string()))
    }

    /// What came of questions that are answered like this, one after the other; how many were asked; and when it ended.
    async fn asked(answers: [(Option<u64>, Answer); 3]) -> (Answer, usize, u128) {
        let (mut count, began) = (0, Instant::now());
        let answer = any_answer(|| {
            let (after, answer) = answers[count].clone();
            count += 1;
            async move {
                match after {
                    Some(millis) => sleep(Duration::from_millis(millis)).await,
                    None => pending().await,
                }
                answer
            }
        });
        let answer = answer.await;
        (answer, count, began.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn one_good_answer_is_enough() {
        let (good, bad) = (|after| (Some(after), Ok(())), |n| (Some(1), failed(n)));
        let silent = (None, Ok(()));
        assert_eq!(asked([good(400), bad(1), bad(2)]).await, (Ok(()), 1, 400));
        assert_eq!(asked([silent.clone(), good(10), bad(2)]).await, (Ok(()), 2, 510));
        assert_eq!(asked([bad(0), bad(1), good(10)]).await, (Ok(()), 3, 12));
        assert_eq!(asked([good(700), silent.clone(), silent.clone()]).await, (Ok(()), 2, 700));
        assert_eq!(asked([silent.clone(), silent, good(900)]).await, (Ok(()), 3, 1900));
    }

    #[tokio::test(start_paused = true)]
    async fn where_none_is_good_the_last_error_is_told() {
        let bad = |after, n| (Some(after), failed(n));
        assert_eq!(asked([bad(1, 0), bad(1, 1), bad(1, 2)]).await, (failed(2), 3, 3));
        assert_eq!(asked([bad(2000, 0), bad(1, 1), bad(1, 2)]).await, (failed(0), 3, 2000));
    }
}
