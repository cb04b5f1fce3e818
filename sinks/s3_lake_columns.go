package sinks

// The columns of each class: what format.OCSF writes, by the same names. A test
// holds them to it. What OCSF requires is required here, too; the rest is null
// where an event does not have it.

// lakeHead is what events of all classes have.
type lakeHead struct {
	ActivityID   int32           `json:"activity_id" parquet:"activity_id"`
	ActivityName string          `json:"activity_name" parquet:"activity_name,optional"`
	CategoryUID  int32           `json:"category_uid" parquet:"category_uid"`
	ClassUID     int32           `json:"class_uid" parquet:"class_uid"`
	TypeUID      int64           `json:"type_uid" parquet:"type_uid"`
	SeverityID   int32           `json:"severity_id" parquet:"severity_id"`
	Time         int64           `json:"time" parquet:"time"`
	StatusID     int32           `json:"status_id" parquet:"status_id"`
	Metadata     lakeMetadata    `json:"metadata" parquet:"metadata"`
	RawDataHash  lakeFingerprint `json:"raw_data_hash" parquet:"raw_data_hash"`
	Unmapped     lakeJSON        `json:"unmapped" parquet:"unmapped,optional"`
}

type lakeActivity struct {
	lakeBase
	Actor          *lakeActor     `json:"actor" parquet:"actor,optional"`
	SrcEndpoint    *lakeEndpoint  `json:"src_endpoint" parquet:"src_endpoint,optional"`
	API            *lakeAPI       `json:"api" parquet:"api,optional"`
	HTTPRequest    *lakeRequest   `json:"http_request" parquet:"http_request,optional"`
	HTTPResponse   *lakeCode      `json:"http_response" parquet:"http_response,optional"`
	Resources      []lakeResource `json:"resources" parquet:"resources,list"`
	MessageContext *lakeMessage   `json:"message_context" parquet:"message_context,optional"`
	Trace          *lakeTrace     `json:"trace" parquet:"trace,optional"`
	RawData        string         `json:"raw_data" parquet:"raw_data,optional"`
}

type lakeEntity struct {
	lakeBase
	Actor        *lakeActor    `json:"actor" parquet:"actor,optional"`
	SrcEndpoint  *lakeEndpoint `json:"src_endpoint" parquet:"src_endpoint,optional"`
	HTTPRequest  *lakeRequest  `json:"http_request" parquet:"http_request,optional"`
	HTTPResponse *lakeCode     `json:"http_response" parquet:"http_response,optional"`
	Entity       *lakeManaged  `json:"entity" parquet:"entity,optional"`
	RawData      string        `json:"raw_data" parquet:"raw_data,optional"`
}

type lakeFinding struct {
	lakeHead
	ConfidenceID int32           `json:"confidence_id" parquet:"confidence_id,optional"`
	IsAlert      bool            `json:"is_alert" parquet:"is_alert"`
	Message      string          `json:"message" parquet:"message,optional"`
	StartTime    int64           `json:"start_time" parquet:"start_time,optional"`
	EndTime      int64           `json:"end_time" parquet:"end_time,optional"`
	FindingInfo  lakeFindingInfo `json:"finding_info" parquet:"finding_info"`
	Evidences    []lakeEvidence  `json:"evidences" parquet:"evidences,list"`
	Resources    []lakeResource  `json:"resources" parquet:"resources,list"`
}

// lakeBase is what events of all classes but findings have.
type lakeBase struct {
	lakeHead
	Status       string `json:"status" parquet:"status,optional"`
	StatusCode   string `json:"status_code" parquet:"status_code,optional"`
	StatusDetail string `json:"status_detail" parquet:"status_detail,optional"`
	Duration     int64  `json:"duration" parquet:"duration,optional"`
}

type lakeMetadata struct {
	Version          string      `json:"version" parquet:"version"`
	Product          lakeProduct `json:"product" parquet:"product"`
	UID              string      `json:"uid" parquet:"uid"`
	OriginalEventUID string      `json:"original_event_uid" parquet:"original_event_uid,optional"`
	CorrelationUID   string      `json:"correlation_uid" parquet:"correlation_uid,optional"`
	EventCode        string      `json:"event_code" parquet:"event_code,optional"`
	LogName          string      `json:"log_name" parquet:"log_name,optional"`
	TenantUID        string      `json:"tenant_uid" parquet:"tenant_uid,optional"`
	LoggedTime       int64       `json:"logged_time" parquet:"logged_time"`
	OriginalTime     string      `json:"original_time" parquet:"original_time"`
	Profiles         []string    `json:"profiles" parquet:"profiles,list"`
}

type lakeProduct struct {
	Name       string `json:"name" parquet:"name"`
	VendorName string `json:"vendor_name" parquet:"vendor_name"`
}

type lakeFingerprint struct {
	AlgorithmID int32  `json:"algorithm_id" parquet:"algorithm_id"`
	Value       string `json:"value" parquet:"value"`
}

type lakeActor struct {
	User    *lakeUser `json:"user" parquet:"user,optional"`
	AppName string    `json:"app_name" parquet:"app_name,optional"`
	Session *lakeUID  `json:"session" parquet:"session,optional"`
}

type lakeUser struct {
	UID       string `json:"uid" parquet:"uid,optional"`
	Name      string `json:"name" parquet:"name,optional"`
	EmailAddr string `json:"email_addr" parquet:"email_addr,optional"`
	Type      string `json:"type" parquet:"type,optional"`
	TypeID    int32  `json:"type_id" parquet:"type_id,optional"`
}

type lakeUID struct {
	UID string `json:"uid" parquet:"uid,optional"`
}

type lakeEndpoint struct {
	IP      string `json:"ip" parquet:"ip,optional"`
	SvcName string `json:"svc_name" parquet:"svc_name,optional"`
}

type lakeAPI struct {
	Operation string        `json:"operation" parquet:"operation"`
	Response  *lakeResponse `json:"response" parquet:"response,optional"`
}

type lakeResponse struct {
	Code  int32  `json:"code" parquet:"code,optional"`
	Error string `json:"error" parquet:"error,optional"`
}

type lakeRequest struct {
	HTTPMethod string    `json:"http_method" parquet:"http_method,optional"`
	UserAgent  string    `json:"user_agent" parquet:"user_agent,optional"`
	URL        *lakePath `json:"url" parquet:"url,optional"`
}

type lakePath struct {
	Path string `json:"path" parquet:"path,optional"`
}

type lakeCode struct {
	Code int32 `json:"code" parquet:"code"`
}

type lakeResource struct {
	UID    string   `json:"uid" parquet:"uid,optional"`
	Name   string   `json:"name" parquet:"name,optional"`
	Type   string   `json:"type" parquet:"type,optional"`
	RoleID int32    `json:"role_id" parquet:"role_id,optional"`
	Owner  *lakeUID `json:"owner" parquet:"owner,optional"`
}

type lakeMessage struct {
	UID      string       `json:"uid" parquet:"uid,optional"`
	AIRoleID int32        `json:"ai_role_id" parquet:"ai_role_id"`
	Service  *lakeService `json:"service" parquet:"service,optional"`
}

type lakeService struct {
	UID  string `json:"uid" parquet:"uid,optional"`
	Name string `json:"name" parquet:"name,optional"`
}

type lakeTrace struct {
	UID  string    `json:"uid" parquet:"uid"`
	Span *lakeSpan `json:"span" parquet:"span,optional"`
}

type lakeSpan struct {
	UID       string `json:"uid" parquet:"uid"`
	StartTime int64  `json:"start_time" parquet:"start_time"`
	EndTime   int64  `json:"end_time" parquet:"end_time"`
}

type lakeManaged struct {
	UID    string `json:"uid" parquet:"uid,optional"`
	Name   string `json:"name" parquet:"name,optional"`
	Type   string `json:"type" parquet:"type,optional"`
	TypeID int32  `json:"type_id" parquet:"type_id,optional"`
}

type lakeFindingInfo struct {
	UID                string         `json:"uid" parquet:"uid"`
	Title              string         `json:"title" parquet:"title"`
	Desc               string         `json:"desc" parquet:"desc,optional"`
	Analytic           *lakeAnalytic  `json:"analytic" parquet:"analytic,optional"`
	FirstSeenTime      int64          `json:"first_seen_time" parquet:"first_seen_time,optional"`
	LastSeenTime       int64          `json:"last_seen_time" parquet:"last_seen_time,optional"`
	RelatedEvents      []lakeRelated  `json:"related_events" parquet:"related_events,list"`
	RelatedEventsCount int32          `json:"related_events_count" parquet:"related_events_count,optional"`
	Attacks            []lakeAttacked `json:"attacks" parquet:"attacks,list"`
}

type lakeAnalytic struct {
	UID    string `json:"uid" parquet:"uid"`
	Name   string `json:"name" parquet:"name"`
	TypeID int32  `json:"type_id" parquet:"type_id"`
}

type lakeRelated struct {
	UID           string `json:"uid" parquet:"uid"`
	FirstSeenTime int64  `json:"first_seen_time" parquet:"first_seen_time,optional"`
}

type lakeAttacked struct {
	Technique lakeUID `json:"technique" parquet:"technique"`
}

type lakeEvidence struct {
	Actor lakeActor `json:"actor" parquet:"actor"`
}
