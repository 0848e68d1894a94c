//! A request by wasi:http.

use std::cell::RefCell;

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{Fields, FutureIncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;

thread_local! {
    /// What was begun and is left alone.
    static BEGUN: RefCell<Option<Begun>> = const { RefCell::new(None) };
    /// What was finished, and nobody waits for.
    static FINISHED: RefCell<Option<FutureIncomingResponse>> = const { RefCell::new(None) };
}

/// A request whose body is not finished.
struct Begun {
    body: OutgoingBody,
    answer: FutureIncomingResponse,
}

/// Sends it over plain HTTP and reads the whole answer: its status and body in words.
pub fn send(
    method: &str,
    authority: &str,
    path: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> Result<String, String> {
    read(Begun::new(method, authority, path, headers, body)?.finish()?)
}

/// Begins a request and leaves it alone.
pub fn begin(method: &str, authority: &str, path: &str, body: &[u8]) -> Result<String, String> {
    BEGUN.set(Some(Begun::new(method, authority, path, &[], body)?));
    Ok("begun".to_owned())
}

/// Finishes what was begun, and leaves its answer alone.
pub fn finish() -> Result<String, String> {
    let begun = BEGUN.take().ok_or("nothing was begun")?;
    FINISHED.set(Some(begun.finish()?));
    Ok("finished".to_owned())
}

/// Waits for the answer to what was finished.
pub fn wait() -> Result<String, String> {
    read(FINISHED.take().ok_or("nothing was finished")?)
}

impl Begun {
    fn new(
        method: &str,
        authority: &str,
        path: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Result<Self, String> {
        let fields = Fields::new();
        for (name, value) in headers {
            fields
                .append(name, value.as_bytes())
                .map_err(|error| format!("header {name}: {error}"))?;
        }
        let request = OutgoingRequest::new(fields);
        let refused = |what: &str| format!("{what} is refused");
        request
            .set_method(&Method::Other(method.to_owned()))
            .map_err(|()| refused("the method"))?;
        request
            .set_scheme(Some(&Scheme::Http))
            .map_err(|()| refused("the scheme"))?;
        request
            .set_authority(Some(authority))
            .map_err(|()| refused("the authority"))?;
        request
            .set_path_with_query(Some(path))
            .map_err(|()| refused("the path"))?;

        let outgoing = request.body().map_err(|()| refused("the body"))?;
        let answer = handle(request, None).map_err(|error| error.to_string())?;
        {
            let stream = outgoing.write().map_err(|()| refused("the body's stream"))?;
            // A refused request closes the stream; why, the answer says.
            stream.blocking_write_and_flush(body).ok();
        }
        Ok(Self { body: outgoing, answer })
    }

    fn finish(self) -> Result<FutureIncomingResponse, String> {
        OutgoingBody::finish(self.body, None).map_err(|error| error.to_string())?;
        Ok(self.answer)
    }
}

fn read(answer: FutureIncomingResponse) -> Result<String, String> {
    answer.subscribe().block();
    let response = answer
        .get()
        .ok_or("no answer")?
        .map_err(|()| "the answer was taken")?
        .map_err(|error| error.to_string())?;
    let incoming = response.consume().map_err(|()| "the answer's body is refused")?;
    let stream = incoming.stream().map_err(|()| "the answer's stream is refused")?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(64 * 1024) {
            Ok(chunk) => bytes.extend(chunk),
            Err(StreamError::Closed) => break,
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(format!("{} {}", response.status(), String::from_utf8_lossy(&bytes)))
}
