//! Writes the access log's lines to their sink.
//!
//! Each batch is one blocking call off the async threads, since a pipe that nobody reads blocks. It refuses to retry: a
//! sink that fails loses the batch, which is counted, and the first failure is logged.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use crate::tasks::Tasks;
use crate::telemetry::AccessWriter;

/// Writes lines until the access log is closed.
pub async fn write_access_log(mut writer: AccessWriter, sink: Box<dyn Write + Send>, tasks: Tasks) {
    let sink = Arc::new(Mutex::new(sink));
    let mut failing = false;
    while let Some(lines) = writer.next().await {
        let (sink, text) = (Arc::clone(&sink), lines.clone());
        let written = tasks
            .blocking("access log", move || {
                let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
                sink.write_all(text.as_bytes()).and_then(|()| sink.flush())
            })
            .await;
        let error = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = &error {
            writer.lost(&lines);
            if !failing {
                tracing::warn!(%error, "the access log cannot be written");
            }
        }
        failing = error.is_some();
    }
}
