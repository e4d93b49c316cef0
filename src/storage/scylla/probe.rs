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

    /// After how many milliseconds, if ever, and what.
    type Answer = (Option<u64>, Result<(), &'static str>);

    const SILENT: Answer = (None, Ok(()));

    const fn good(after: u64) -> Answer {
        (Some(after), Ok(()))
    }

    const fn bad(after: u64, why: &'static str) -> Answer {
        (Some(after), Err(why))
    }

    /// What came of questions that are answered like this, one after the other; how many were asked; and after how
    /// many tenths of a second it ended.
    async fn asked(answers: [Answer; 3]) -> (Result<(), String>, usize, u128) {
        let (mut count, began) = (0, Instant::now());
        let answer = any_answer(|| {
            let (after, answer) = answers[count];
            count += 1;
            async move {
                match after {
                    Some(millis) => sleep(Duration::from_millis(millis)).await,
                    None => pending().await,
                }
                answer.map_err(|why| StoreError::Unavailable(why.to_owned()))
            }
        });
        let answer = answer.await.map_err(|error| error.to_string());
        (answer, count, began.elapsed().as_millis() / 100)
    }

    #[tokio::test(start_paused = true)]
    async fn one_good_answer_is_enough() {
        assert_eq!(asked([good(400), SILENT, SILENT]).await, (Ok(()), 1, 4));
        assert_eq!(asked([SILENT, good(100), SILENT]).await, (Ok(()), 2, 6));
        assert_eq!(asked([bad(100, "a"), bad(100, "b"), good(100)]).await, (Ok(()), 3, 3));
        assert_eq!(asked([good(700), SILENT, SILENT]).await, (Ok(()), 2, 7));
        assert_eq!(asked([SILENT, SILENT, good(900)]).await, (Ok(()), 3, 19));
    }

    #[tokio::test(start_paused = true)]
    async fn where_none_is_good_the_last_error_is_told() {
        for (answers, last, after) in [
            ([bad(100, "a"), bad(100, "b"), bad(100, "c")], "c", 3),
            ([bad(2000, "a"), bad(100, "b"), bad(100, "c")], "a", 20),
        ] {
            let (answer, count, ended) = asked(answers).await;
            assert!(answer.is_err_and(|error| error.ends_with(last)));
            assert_eq!((count, ended), (3, after));
        }
    }
}
