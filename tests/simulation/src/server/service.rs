//! The server as a tower service, which `kube::Client` requires.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    Request, Response,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body::Frame;
use kube::client::Body;

use super::{Server, read::FRESHNESS_TIMEOUT, watch::Stream};

/// Responds to one user as the API server does. A request is carried out immediately when its future is first polled.
#[derive(Clone)]
pub struct Service {
    pub(super) server: Server,
    pub(super) user: Arc<str>,
}

/// The body of a response.
pub struct ServerBody(Content);

enum Content {
    Once(Option<Bytes>),
    Watch(Box<Stream>),
}

/// A response before it is converted to HTTP.
pub(super) enum Reply {
    /// The status code and the object.
    Once(u16, Bytes),
    /// The events of a watch, one line each.
    Watch(Box<Stream>),
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<ServerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { server, user } = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap_or_default();
            let mut reply = server.answer(&user, &parts, &body);
            if matches!(reply, Reply::Once(504, _)) {
                // The server waits until the version exists.
                tokio::time::sleep(FRESHNESS_TIMEOUT).await;
                reply = server.answer(&user, &parts, &body);
            }
            Ok(response(reply))
        })
    }
}

fn response(reply: Reply) -> Response<ServerBody> {
    let (status, content) = match reply {
        Reply::Once(status, bytes) => (status, Content::Once(Some(bytes))),
        Reply::Watch(stream) => (200, Content::Watch(stream)),
    };
    let mut response = Response::new(ServerBody(content));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    if status == 504 {
        response.headers_mut().insert(RETRY_AFTER, http::HeaderValue::from_static("1"));
    }
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

impl http_body::Body for ServerBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        match &mut self.get_mut().0 {
            Content::Once(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Watch(stream) => stream.poll_next(context).map(|line| line.map(|line| line.map(Frame::data))),
        }
    }
}

impl Service {
    /// Whether the API server is down.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.server.is_down()
    }
}

impl ServerBody {
    /// A body that is complete from the start.
    #[must_use]
    pub fn once(bytes: Bytes) -> Self {
        Self(Content::Once(Some(bytes)))
    }
}
