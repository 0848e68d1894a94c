//! A request by wasi:http.

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;

/// Sends it over plain HTTP and reads the whole answer: its status and body in words.
pub fn send(
    method: &str,
    authority: &str,
    path: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> Result<String, String> {
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
    OutgoingBody::finish(outgoing, None).map_err(|error| error.to_string())?;

    answer.subscribe().block();
    let response = answer
        .get()
        .ok_or("no answer")?
        .map_err(|()| "the answer was taken")?
        .map_err(|error| error.to_string())?;
    let incoming = response.consume().map_err(|()| refused("the answer's body"))?;
    let stream = incoming.stream().map_err(|()| refused("the answer's stream"))?;
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
